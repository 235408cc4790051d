"""The contract's tests, tested: a fault in the source, of any kind that matters, is a fault that some test sees.

The mutants of the whole contract take half an hour; `make test` judges a sample of them.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from vyper.compiler import compile_code

from contracts import SOURCE_PATH
from tests.contracts.mutation.compiler import compile_mutant
from tests.contracts.mutation.operators import mutants

ROOT = Path(__file__).parents[2]
SURVIVORS = tomllib.loads((Path(__file__).parent / "surviving_mutants.toml").read_text(encoding="utf-8"))
"""Why each mutant that no test kills is as good as the original."""
SAMPLE = 6
SOURCE = SOURCE_PATH.read_text(encoding="utf-8")

HEAD = """
# pragma nonreentrancy on
PAID: constant(uint256) = 11
MOST: constant(uint256) = 16
struct Terms:
    payer: address
    validator: address
    miner: address
    reward: uint256
    fee: uint256
event Moved:
    source: address
    target: address
network: immutable(Terms)
used: HashMap[address, uint256]
spent: HashMap[address, uint256]
@deploy
def __init__(terms: Terms):
    network = terms
@internal
def _move(owner: address, amount: uint256, fee: uint256):
    pass
@internal
def f(terms: Terms, a: uint256, b: uint256, ok: bool):
"""
TAIL = """
@internal
def _g() -> address:
    return self
"""
FAULTS = {
    "assert a >= b": ["assert a > b", "assert a == b", "pass"],
    "assert a < b": ["assert a <= b", "assert a != b", "pass"],
    "assert a == b": ["assert a != b", "assert a <= b", "assert a >= b", "pass"],
    "assert ok != True": ["assert ok == True", "assert ok != False", "pass"],
    "assert not ok": ["assert ok", "pass"],
    "assert ok or a > b": [
        "assert ok and (a > b)",
        "assert ok",
        "assert (a > b)",
        "assert ok or a >= b",
        "assert ok or a != b",
        "pass",
    ],
    "raise": ["pass"],
    "x: uint256 = a + b": ["x: uint256 = a - b", "x: uint256 = a", "x: uint256 = b"],
    "x: uint256 = a * b": ["x: uint256 = a // b", "x: uint256 = a"],
    "x: uint256 = (a >> 8) & 255": [
        "x: uint256 = (a >> 8) | 255",
        "x: uint256 = (a >> 8)",
        "x: uint256 = (a << 8) & 255",
        "x: uint256 = (a) & 255",
        "x: uint256 = (a >> 9) & 255",
        "x: uint256 = (a >> 7) & 255",
        "x: uint256 = (a >> 8) & 256",
        "x: uint256 = (a >> 8) & 254",
    ],
    "self.used[self] += a": ["self.used[self] -= a", "self.used[self] = a", "self.spent[self] += a", "pass"],
    "if ok:\n        pass": ["if True:\n        pass", "if False:\n        pass"],
    "x: uint256 = terms.fee": ["x: uint256 = terms.reward"],
    "x: address = terms.payer": [
        "x: address = terms.validator",
        "x: address = terms.miner",
        "x: address = msg.sender",
    ],
    "x: address = msg.sender": [
        "x: address = terms.payer",
        "x: address = terms.validator",
        "x: address = terms.miner",
        "x: address = tx.origin",
    ],
    "x: address = empty(address)": ["x: address = msg.sender"],
    "x: uint256 = PAID": ["x: uint256 = VALIDATOR_LAPSED", "x: uint256 = REFUNDED"],
    "x: uint256 = chain.id": ["x: uint256 = BIRTH_CHAIN_ID"],
    "self._move(self, a, b)": ["self._move(self, b, a)", "pass"],
    "log Moved(source=self, target=self._g())": ["log Moved(source=self._g(), target=self)", "pass"],
}
"""A body of `f`, and every body that a mutant gives it."""


def verdicts(*options: str) -> dict[str, str]:
    """The outcome of every mutant that was judged; progress goes to the terminal."""
    command = [sys.executable, "-m", "tests.contracts.mutation", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line["outcome"] for line in lines}


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_the_mutants_that_survive_are_those_that_are_justified(capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        outcomes = verdicts()
    assert {name for name, outcome in outcomes.items() if outcome == "survived"} == set(SURVIVORS)


@pytest.mark.timeout(300)
def test_a_sample_of_the_mutants_is_killed() -> None:
    outcomes = verdicts("--sample", str(SAMPLE), "--seed", "1", "--jobs", "1")
    assert len(outcomes) == SAMPLE
    assert {name for name, outcome in outcomes.items() if outcome == "survived"} <= set(SURVIVORS)
    assert list(outcomes.values()).count("killed") > SAMPLE / 2


@pytest.mark.parametrize(("body", "faults"), FAULTS.items())
def test_each_kind_of_fault_is_made(body: str, faults: list[str]) -> None:
    made = [mutant.source for mutant in mutants(f"{HEAD}    {body}\n{TAIL}") if mutant.function == "f"]
    assert sorted(made) == sorted(f"{HEAD}    {fault}\n{TAIL}" for fault in faults)


def test_constants_are_off_by_one_but_states_are_exchanged_where_they_are_used() -> None:
    made = [mutant.name for mutant in mutants(f"{HEAD}    pass\n{TAIL}") if mutant.function == "module"]
    assert made == [
        "module: MOST: constant(uint256) = 16 -> MOST: constant(uint256) = 17",
        "module: MOST: constant(uint256) = 16 -> MOST: constant(uint256) = 15",
        "module: nonreentrancy off",
    ]


def test_doors_are_opened() -> None:
    """An external function takes ether that it should not, or is entered while another runs."""
    made = {mutant.name: mutant.source for mutant in mutants("@external\ndef f():\n    pass\n")}
    assert made["f: @payable"] == "@external\n@payable\ndef f():\n    pass\n"
    assert made["f: @reentrant"] == "@external\n@reentrant\ndef f():\n    pass\n"


def test_what_is_justified_is_a_mutant() -> None:
    assert set(SURVIVORS) <= {mutant.name for mutant in mutants(SOURCE)}
    assert all(SURVIVORS.values())


def test_no_mutant_is_the_original_or_another_one_and_each_has_its_name() -> None:
    all_mutants = mutants(SOURCE)
    assert len({mutant.source for mutant in all_mutants} | {SOURCE}) == len(all_mutants) + 1
    assert len({mutant.name for mutant in all_mutants}) == len(all_mutants)


def test_the_fast_compiler_changes_no_byte() -> None:
    plain = compile_code(SOURCE, output_formats=["bytecode"], no_bytecode_metadata=True)["bytecode"]
    assert compile_mutant(SOURCE) == plain.removeprefix("0x")


def test_what_does_not_compile_has_no_bytecode() -> None:
    assert compile_mutant("x: constant(uint256) = 0 ** 2") is None
    assert compile_mutant("x: uint256 = nothing") is None


def test_an_unrelated_change_of_the_source_renames_no_mutant() -> None:
    shifted = SOURCE.replace("MIN_N: constant", "# Another line.\nMIN_N: constant")
    assert [mutant.name for mutant in mutants(shifted)] == [mutant.name for mutant in mutants(SOURCE)]
