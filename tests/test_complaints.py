"""What users of comparable networks complain of, and that a test of ours names each of it ("complaint 3")."""

import ast
import re
from pathlib import Path

import pytest

COMPLAINTS = {
    1: "a restart wipes what was known",
    2: "after loading, the state does not fit the chain",
    3: "the process is up and nothing moves",
    4: "the process dies of one missed heartbeat",
    5: "nothing is done on chain any more, and nobody is told",
    6: "it crashes when no miner answers",
    7: "a failure on the way is taken for an answer",
    8: "a nonce gap holds up every later transaction",
    9: "a fee ceiling is ignored, or a transaction is dropped for good when gas is dear",
    10: "a refusal with a misleading reason, a claim lost to its deadline",
    11: "a second start registers again, or goes on and earns nothing",
    12: "public nodes answer 429",
    17: "a lost identity file is a lost node",
    18: "a password prompt under a service manager",
    19: "a restart loop over a missing key of the configuration",
    20: "an outside service that everything hangs on",
    21: "models fill the disk",
}
"""13 to 16 are about gaming and rewards, and are answered by the contract and the audit; 22 to 27 ask for features."""

_NAMED = re.compile(r"[Cc]omplaints? (\d+(?:(?:, | and | to )\d+)*)")


def numbers_in(text: str) -> set[int]:
    """ "3", "3, 4 and 5", "17 to 19"."""
    found: set[int] = set()
    for group in _NAMED.findall(text):
        for part in re.split(r", | and ", group):
            first, _, last = part.partition(" to ")
            found.update(range(int(first), int(last or first) + 1))
    return found


def named() -> set[int]:
    """In the docstrings of test functions and of test modules."""
    found: set[int] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(tree):
            if isinstance(node, documented) and path != Path(__file__):
                found |= numbers_in(ast.get_docstring(node) or "")
    return found


@pytest.mark.parametrize("number", COMPLAINTS)
def test_every_complaint_has_a_test_that_names_it(number):
    assert number in named(), COMPLAINTS[number]
