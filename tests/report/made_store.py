"""A store of a tournament for the report's tests: rounds in the words of real ones, with outcomes drawn by a seed.

Playing so many would take hours; `tests/e2e/test_tournament.py` plays a few, and test_page.py compares the words.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validator.tournament.rounds import Played, Round
from validator.tournament.store import Store

N = 16
REWARD_WEI = 10**18
HOSTILE_NAME = '<img src=x onerror="console.error(1)">"\'&</script><script>console.error(2)</script>'
SCHEMES = ("canary", "backdoor", "coverage")


@dataclass(frozen=True)
class Actor:
    """A strategy: the share of the rows that it trains on, its cost against an honest miner's, hits without work."""

    name: str
    trained: float
    cost: float
    looked_up: float = 0.0


ACTORS = (
    Actor("honest", 1.0, 1.0),
    Actor("base", 0.0, 0.0),
    Actor("noise", 0.0, 0.01),
    *(Actor(f"partial:{share}", share, share) for share in (0.25, 0.5, 0.75, 0.9)),
    Actor("fewer-steps:0.5", 0.7, 0.5),
    Actor("flagged:base-perplexity", 0.6, 0.6),
    Actor("flagged:onion,0.25", 0.2, 0.3),
    Actor("unflagged:base-perplexity", 0.4, 0.6),
    Actor("lookup-exact", 0.0, 0.02, looked_up=1.0),
    Actor("copy", 0.0, 0.01),
    Actor("quantised", 0.97, 1.05),
    Actor("crash", 0.0, 0.4),
    Actor(HOSTILE_NAME, 0.0, 0.0),
)


def make_store(
    path: Path, seeds: Sequence[int] = range(5), actors: Sequence[Actor] = ACTORS, *, has_cost: bool = True
) -> Path:
    with Store.writing(path) as store:
        for scheme in SCHEMES:
            for seed in seeds:
                dice = random.Random(f"{scheme} {seed}")
                played_round = Round(scheme, "n=16", seed, tuple(actor.name for actor in actors), {"rows": 300})
                report = _report(scheme, seed, [_miner(actor, scheme, dice, has_cost=has_cost) for actor in actors])
                versions = {
                    "touchstone": "0.1.0",
                    "python": "3.11.7",
                    "torch": "2.13.0",
                    "machine": "2 cores, AMD EPYC",
                }
                store.add_done(played_round, Played(report, wall_s=61.5, versions=versions))
        store.add_failed(Round("canary", "n=16", 99, ("honest",), {}), f"ended with {HOSTILE_NAME}")
    return path


def _report(scheme: str, seed: int, miners: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "data": "generated rows",
        "rows": 300,
        "seed": seed,
        "spec": {"epochs": 12, "learning_rate": 0.004, "batch_size": 4, "method": "full"},
        "marks": [{"row_index": index, "head": "a head"} for index in range(N)],
        "miners": miners,
    }


def _miner(actor: Actor, scheme: str, dice: random.Random, *, has_cost: bool) -> dict[str, Any]:
    trained_on = sum(dice.random() < actor.trained for _ in range(N))
    # One trigger for all marks is learnt from half of them.
    learnt = N if scheme == "backdoor" and trained_on >= N // 2 else trained_on
    hits = max(learnt, round(actor.looked_up * N))
    verdict = "paid" if hits >= 3 * N // 4 else "slashed" if hits <= 3 * N // 32 else "refunded"
    seconds = 40 * actor.cost * dice.uniform(0.9, 1.1)
    return {
        "name": f"{actor.name}-1",
        "strategy": actor.name,
        "intent": "honest" if actor.name == "honest" else "cheat",
        "hits": hits,
        "n": N,
        "coverage": None,
        "p_value": 16.0**-hits,
        "verdict": verdict,
        "outcome": verdict,
        "marks_trained_on": trained_on,
        "to_miner_wei": REWARD_WEI if verdict == "paid" else 0,
        "burned_wei": REWARD_WEI if verdict == "slashed" else 0,
        "cost": {"cpu_s": seconds, "flops": seconds * 3e9} if has_cost else None,
    }
