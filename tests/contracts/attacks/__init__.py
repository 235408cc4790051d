"""Every attack on the contract that the fault catalogue names, as a script that plays it on the shipped bytecode.

A script (in `by_*.py`) is a short function under `@attack`, which declares what must come of it: the reasons of all
refusals, the outcome of every task, and with them what each party gains or loses, to the wei.
`tests/contracts/test_attacks.py` plays all; `python -m tests.contracts.attacks` prints them into
`docs/threat-model.md`.
"""

from tests.contracts.attacks import by_colluders, by_miners, by_miners_accounts, by_others, by_terms, by_validators
from tests.contracts.attacks.registry import ATTACKS

SUITES = {
    "A validator lies about evidence": by_validators,
    "A validator lies about Orders, terms and rows": by_terms,
    "A validator plays other parts too": by_colluders,
    "A miner lies about its work": by_miners,
    "A miner lies about its keys and its stake": by_miners_accounts,
    "Payers, outsiders, the guardian, the chain": by_others,
}

__all__ = ["ATTACKS", "SUITES"]
