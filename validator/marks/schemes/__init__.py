"""Schemes: how marks are put into rows. Plug-ins with one interface and one test suite (protocol, "Marks").

A task's terms say a scheme's name and w; what else a verdict needs is fixed by the name.
"""

from dataclasses import asdict
from typing import Any, cast

from validator.errors import BadInput
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.schemes.backdoor import Backdoor, GroupedBackdoor, SynonymBackdoor
from validator.marks.schemes.canary import Canary, CanaryAndCoverage, OpeningCanary
from validator.marks.schemes.scheme import Mark, Scheme

__all__ = [
    "SCHEMES",
    "Backdoor",
    "Canary",
    "CanaryAndCoverage",
    "GroupedBackdoor",
    "Mark",
    "OpeningCanary",
    "Scheme",
    "SynonymBackdoor",
    "decode_scheme_parameters",
    "encode_scheme_parameters",
    "make_scheme",
]

_ALL = (Canary, CanaryAndCoverage, OpeningCanary, Backdoor, GroupedBackdoor, SynonymBackdoor)
SCHEMES: dict[str, type[Scheme]] = {make().name: make for make in _ALL}


def make_scheme(name: str, rules: AlterationRules = ALL_PROTECTED) -> Scheme:
    """A scheme with its default parameters, by name."""
    if name not in SCHEMES:
        raise BadInput(f"unknown scheme {name!r}; known: {', '.join(sorted(SCHEMES))}")
    make: Any = SCHEMES[name]
    scheme: Scheme = make(rules=rules)
    return scheme


def encode_scheme_parameters(scheme: Scheme) -> dict[str, Any]:
    """A scheme with all its parameters, as JSON."""
    return asdict(cast(Any, scheme))


def decode_scheme_parameters(body: dict[str, Any]) -> Scheme:
    """What `encode_scheme_parameters` was given."""
    rules = AlterationRules(**body["rules"] | {"patterns": tuple(body["rules"]["patterns"])})
    make: Any = SCHEMES[body["name"]]
    scheme: Scheme = make(**body | {"rules": rules})
    return scheme
