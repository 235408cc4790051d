"""Every strategy end to end through the real validator: whatever a miner does is a result, and nobody else suffers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from miner_sim.artefacts import ARTEFACTS
from miner_sim.strategies import known_strategies, parse_strategy
from tests.e2e import broken_strategy
from tests.e2e.command import CHEAP_SPEC, by_strategy, simulate

REWARD_WEI = 10**18

CERTAIN = ("honest", "base", "noise:0.5", "silent", "silent:submit", "hostile:garbage")
BESIDE_AN_HONEST_MINER = (
    "honest",
    "fewer-epochs:0.5",
    "base",
    "noise:0.5",
    "guess",
    "guess:opening",
    "lookup",
    "lookup-exact",
    "lookup-suffix",
    "copy:honest-1",
    "silent",
    "silent:accept",
    "hostile:endless-answer",
    "hostile:garbage",
    "hostile:bomb",
    "broken",
)
TRAINING_FOR_AN_EPOCH = (
    "partial:0.5",
    "fewer-steps:0.5",
    "flagged:opening-frequency-k-4",
    "unflagged:opening-frequency-k-4",
    "other-base",
    "covert:0.5",
    "sybil",
    "sybil",
    "equivocate",
    "unsigned",
    "no-adapter",
    "wrong-template",
    "sampling",
    "quantised-inference",
    "silent:submit",
    "silent:answer",
    "silent:sign",
    "late",
    "late:1",
    "crash",
    "crash:0.5",
)
RETURNING_WEIGHTS = (
    "two-models",
    "swapped",
    "validator-only",
    "quantised",
    "pruned",
    "hostile:nan",
    "hostile:endless-file",
    "hostile:paths",
)


def play(directory: Path, strategies: Sequence[str], *, epochs: int, weights: str = "none") -> dict[str, Any]:
    """One round of a miner for each of these, from a scenario in a file; its report, in which every one ended well."""
    lines = [
        f'strategies = ["{Path(broken_strategy.__file__)}"]',
        f'weights = "{weights}"\nscheme = "canary"',
        "[population]",
        *(
            f'"{text}" = {{ strategy = "{text}", count = {strategies.count(text)} }}'
            for text in dict.fromkeys(strategies)
        ),
        "[spec]",
        *(f"{key} = {value}" for key, value in (CHEAP_SPEC | {"epochs": epochs}).items()),
    ]
    scenario = directory / "zoo.toml"
    scenario.write_text("\n".join(lines))
    report = simulate(directory, scenario, "--workers", "1", status=None)
    assert sorted(miner["strategy"] for miner in report["miners"]) == sorted(strategies)
    for miner in report["miners"]:
        assert miner["verdict"] in ("paid", "refunded", "slashed")
        if miner["strategy"] != "broken":
            assert miner["verdict"] not in parse_strategy(miner["strategy"]).never, miner
        assert (miner["hits"] is None) == ("settle" not in miner["transactions"])
    return report


def only(report: dict[str, Any], strategy: str) -> dict[str, Any]:
    (miner,) = by_strategy(report, strategy)
    return miner


def test_no_strategy_is_forgotten_here() -> None:
    played = {text.partition(":")[0] for text in (*BESIDE_AN_HONEST_MINER, *TRAINING_FOR_AN_EPOCH, *RETURNING_WEIGHTS)}
    ours = {name for name, strategy in known_strategies().items() if strategy.__module__.startswith("miner_sim.")}
    assert ours == played - {"broken"}


def test_where_theory_is_certain_the_verdict_is_too(tmp_path: Path) -> None:
    """`play` holds every one to what its strategy can never be."""
    report = play(tmp_path, CERTAIN, epochs=CHEAP_SPEC["epochs"])
    assert {miner["strategy"]: miner["outcome"] for miner in report["miners"]} == {
        "honest": "paid",
        "base": "slashed",
        "noise:0.5": "slashed",
        "silent": "open_lapsed",
        "silent:submit": "miner_lapsed",
        "hostile:garbage": "slashed",
    }
    assert only(report, "honest")["faults"] == []


@pytest.mark.soak
def test_an_honest_miner_is_paid_whoever_else_is_there(tmp_path: Path) -> None:
    report = play(tmp_path, BESIDE_AN_HONEST_MINER, epochs=CHEAP_SPEC["epochs"])
    honest, thief = only(report, "honest"), only(report, "copy:honest-1")
    assert (honest["outcome"], honest["to_miner_wei"], honest["burned_wei"]) == ("paid", REWARD_WEI, 0)
    assert honest["faults"] == []
    assert thief["hits"] == honest["hits"]
    assert honest["cost"]["flops"] > 10 * thief["cost"]["flops"] > 0
    for strategy in ("base", "noise:0.5"):
        miner = only(report, strategy)
        assert (miner["verdict"], miner["hits"] <= 1, miner["burned_wei"]) == ("slashed", True, REWARD_WEI)
    for strategy in ("silent", "silent:accept"):
        assert only(report, strategy)["outcome"] == "open_lapsed"
    assert only(report, "broken")["outcome"] == "miner_lapsed"
    assert only(report, "hostile:garbage")["faults"]


@pytest.mark.soak
def test_who_says_nothing_any_more_loses_the_bond_and_who_comes_back_does_not(tmp_path: Path) -> None:
    report = play(tmp_path, TRAINING_FOR_AN_EPOCH, epochs=1)
    for strategy in ("silent:submit", "silent:answer", "silent:sign", "late", "crash"):
        miner = only(report, strategy)
        assert (miner["outcome"], miner["hits"]) == ("miner_lapsed", None)
        assert miner["burned_wei"] > 0 == miner["to_miner_wei"]
    for strategy in ("unsigned", "equivocate", "late:1", "crash:0.5"):
        assert only(report, strategy)["hits"] is not None
    for strategy in ("unsigned", "equivocate"):
        assert {"challenge", "answer"} <= only(report, strategy)["transactions"].keys()
    first, second = by_strategy(report, "sybil")
    assert first["hits"] == second["hits"]
    trained = only(report, "silent:submit")["cost"]["flops"]
    assert sorted(sybil["cost"]["flops"] >= trained for sybil in (first, second)) == [False, True]


@pytest.mark.soak
def test_weights_that_would_break_their_reader_break_nothing(tmp_path: Path) -> None:
    report = play(tmp_path, RETURNING_WEIGHTS, epochs=1, weights="delivered")
    assert only(report, "two-models")["weights_hits"] is not None
    assert only(report, "swapped")["weights_hits"] is None
    assert_nothing_hostile_was_read(report)


@pytest.mark.soak
def test_no_artefact_breaks_its_reader(tmp_path: Path) -> None:
    strategies = [f"hostile:{kind}" for kind in ARTEFACTS]
    assert_nothing_hostile_was_read(play(tmp_path, strategies, epochs=1, weights="delivered"))


def assert_nothing_hostile_was_read(report: dict[str, Any]) -> None:
    for miner in report["miners"]:
        if miner["strategy"].startswith("hostile:"):
            # A configuration too deep to read is of no account: the validator takes its own.
            assert (miner["weights_hits"] == 0) if miner["strategy"] == "hostile:depth" else miner["faults"], miner
            assert not miner["weights_hits"]
