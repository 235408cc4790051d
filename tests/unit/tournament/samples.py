"""Rounds and reports as a simulation writes them, for what only reads them."""

from typing import Any

from validator.tournament.rounds import Played, Result, Round
from validator.types import Wei

ETHER = 10**18


MISTAKES = ("no-adapter", "sampling")


def intent(strategy: str) -> str:
    return "honest" if strategy == "honest" else "mistake" if strategy in MISTAKES else "cheat"


def a_round(*strategies: str, seed: int = 0, scheme: str = "canary", parameters: str = "default") -> Round:
    return Round(scheme, parameters, seed, strategies or ("honest", "base"), {"rows": 300})


def played(*miners: dict[str, Any]) -> Played:
    return Played({"miners": list(miners)}, wall_s=20.0, versions={"python": "3.11"})


def miner(strategy: str, verdict: str = "paid", number: int = 1, **changes: Any) -> dict[str, Any]:
    """One miner of a report, with the money that its verdict brings."""
    money = {"paid": (ETHER, 0), "refunded": (0, 0), "slashed": (0, ETHER)}[verdict]
    return {
        "name": f"{strategy}-{number}",
        "strategy": strategy,
        "intent": intent(strategy),
        "verdict": verdict,
        "outcome": verdict,
        "hits": 16 if verdict == "paid" else 0,
        "n": 16,
        "p_value": 1e-30,
        "coverage": None,
        "to_miner_wei": money[0],
        "burned_wei": money[1],
        "cost": {"cpu_s": 36.0, "flops": 2e15},
    } | changes


def result(strategy: str, verdict: str = "paid", seed: int = 0, **changes: Any) -> Result:
    """One row of a store, of a miner whose work took 36 CPU seconds and 0.002 exaFLOP."""
    fields: dict[str, Any] = {
        "round_key": f"{seed}",
        "scheme": "canary",
        "parameters": "default",
        "seed": seed,
        "strategy": strategy,
        "intent": intent(strategy),
        "miner": f"{strategy}-1",
        "verdict": verdict,
        "outcome": verdict,
        "hits": 16 if verdict == "paid" else 0,
        "n": 16,
        "p_value": 1e-30,
        "trained_share": None,
        "to_miner_wei": Wei(ETHER if verdict == "paid" else 0),
        "lost_wei": Wei(ETHER if verdict == "slashed" else 0),
        "cpu_s": 36.0,
        "flops": 2e15,
    }
    return Result(**fields | changes)
