"""The auditor's guide says of every check that a finding can name what it means."""

import ast
import re
from collections.abc import Iterator

from tests.docs.pages import ROOT
from validator.audit import bundle_checks

PLACES = {"accuse": 2, "contradict": 2, "_expect": 2, "_hold": 2, "_use": 0}
"""Which argument of a call names the check; `accuse` of a bundle's checks has it first."""


def checks() -> Iterator[str]:
    for path in (ROOT / "validator" / "audit").rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in PLACES:
                # `*actor` stands for two.
                named = [
                    part for arg in call.args for part in ([None, None] if isinstance(arg, ast.Starred) else [arg])
                ]
                first = named[0]
                place = 0 if isinstance(first, ast.Constant) else PLACES[name]
                if place < len(named) and isinstance(found := named[place], ast.Constant):
                    yield str(found.value)
    (unfair,) = (
        node
        for node in ast.walk(ast.parse((ROOT / "validator" / "audit" / "bundle_checks.py").read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == bundle_checks.unfair_terms.__name__
    )
    yield from (key.value for node in ast.walk(unfair) if isinstance(node, ast.Dict) for key in node.keys)


def test_every_check_is_explained_and_no_other() -> None:
    found = {check for check in checks() if check is not None}
    assert len(found) > 25
    table = (ROOT / "docs" / "auditor.md").read_text().split("| check | what was found |")[1].split("\n\n")[0]
    explained = {
        name
        for row in table.splitlines()
        for name in re.findall(r"`([^`]+)`", row.split("|")[1:2][0] if "|" in row else "")
    }
    assert found - explained == set()
    assert explained - found == {"bundle: ..."}
