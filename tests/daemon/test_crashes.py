"""Killed at any boundary, and once more while it recovers, a validator ends as if nothing had happened.

`echo paid --at 57,12 | python -m tests.daemon.crashes` tells the story of one case again.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.daemon.scenarios import SCENARIOS

Lives = Callable[[str], list[dict[str, Any]]]

SHARES = {"two-at-once": 4} | dict.fromkeys(
    (
        "refunded",
        "silent",
        "reorg-at-open",
        "reorg-at-submit",
        "reorg-at-settle",
        "disk-full-at-probes",
        "disk-full-at-settle",
        "flapping-node",
        "flapping-miner",
        "fee-spike",
    ),
    2,
)
"""Of the boundaries of what goes the way of a paid task for the most part, one in so many is taken every day."""
POINTS = dict.fromkeys(SCENARIOS, 120) | dict.fromkeys(SHARES, 50) | {"no-accept": 40, "late": 40, "not-opened": 10}
"""At how many different boundaries of each scenario it is killed, at least."""
SHARDS = 4
STRIDE = 12
"""Of the boundaries of a recovery, those at which it is killed again: one in so many, others for each first crash."""
PAIRS = dict.fromkeys(SCENARIOS, 120) | {
    "silent": 300,
    "two-at-once": 600,
    "no-accept": 40,
    "late": 50,
    "not-opened": 0,
}
"""How often it is killed twice in each shard of a scenario, at least."""


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    command = [sys.executable, "-m", "tests.daemon.crashes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers, questions = process.stdout, process.stdin

        def live(line: str) -> list[dict[str, Any]]:
            questions.write(f"{line}\n".encode())
            return [json.loads(answer) for answer in iter(answers.readline, b"\n")]

        yield live
        process.stdin.close()


def find_differences(scenario: str, crashed: Sequence[dict[str, Any]], uncrashed: dict[str, Any]) -> list[str]:
    """A line for each case that did not end as the uncrashed one, with what tells its story again."""
    wrong = []
    for case in crashed:
        at = ",".join(map(str, case["crashes"]))
        problem = case.get("failure") or case["violations"] or (case["end"] != uncrashed["end"] and case["end"])
        if problem:
            wrong.append(f"{scenario} --at {at} ({case.get('places')}): {problem}")
    return wrong


def check_uncrashed(scenario: str, uncrashed: dict[str, Any]) -> None:
    assert "failure" not in uncrashed, uncrashed["failure"]
    assert uncrashed["crashes"] == []
    assert uncrashed["violations"] == []
    assert tuple(uncrashed["end"]["outcomes"]) == SCENARIOS[scenario].outcomes
    assert all(uncrashed["troubles"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_wherever_it_is_killed_a_validator_ends_as_if_it_had_not_been(scenario: str, lives: Lives) -> None:
    """P1, P2, P3, P4, P5, P6, C1, C3, K1, R1, R5: money, chain, journal and verdict are the same, nothing is stuck."""
    *crashed, uncrashed = lives(f"{scenario} --repeats 1 --shard 0/{SHARES.get(scenario, 1)}")
    check_uncrashed(scenario, uncrashed)
    assert find_differences(scenario, crashed, uncrashed) == []
    assert len({tuple(case["places"]) for case in crashed}) >= POINTS[scenario]


def test_there_are_a_thousand_different_moments_to_be_killed_at_and_ten_thousand_pairs_of_them() -> None:
    assert sum(POINTS.values()) >= 1_000
    assert SHARDS * sum(PAIRS.values()) >= 10_000


@pytest.mark.soak
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_again_while_it_recovers_a_validator_ends_the_same(scenario: str, shard: int, lives: Lives) -> None:
    """P1."""
    *crashed, uncrashed = lives(f"{scenario} --repeats 1 --shard {shard}/{SHARDS} --double {STRIDE}")
    check_uncrashed(scenario, uncrashed)
    assert find_differences(scenario, crashed, uncrashed) == []
    assert sum(len(case["crashes"]) == 2 for case in crashed) >= PAIRS[scenario]
