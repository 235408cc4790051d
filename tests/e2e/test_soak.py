"""What takes longer than `make test` may: rounds over many seeds, each as it must end; `-k seed01` plays a part."""

from pathlib import Path

import pytest

from tests.e2e.command import CHEAPEST_TRAINING, by_strategy, simulate


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
def test_the_default_round_ends_as_it_must(seed: int, tmp_path: Path) -> None:
    report = simulate(tmp_path, "--seed", str(seed))
    assert all(miner["verdict"] == "paid" and miner["hits"] >= 14 for miner in by_strategy(report, "honest"))
    for strategy in ("base", "noise"):
        (miner,) = by_strategy(report, strategy)
        assert miner["verdict"] == "slashed"
        assert miner["hits"] <= 1
    (partial,) = by_strategy(report, "partial:0.25")
    assert partial["verdict"] in {"refunded", "slashed"}
    assert abs(partial["hits"] - partial["marks_trained_on"]) <= 2


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(200), ids=lambda seed: f"seed{seed:03}")
def test_an_honest_miner_is_never_slashed(seed: int, tmp_path: Path) -> None:
    """200 rounds in a row bound the chance of a false slash below 1.5% (Clopper-Pearson, 95%)."""
    report = simulate(tmp_path, "--miners", "honest=1", "--seed", str(seed), "--workers", "1", *CHEAPEST_TRAINING)
    (honest,) = by_strategy(report, "honest")
    assert (honest["verdict"], honest["burned_wei"]) == ("paid", 0)
