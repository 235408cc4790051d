"""What takes longer than `make test` may: the default round over ten seeds, each as it must end."""

from pathlib import Path

import pytest

from tests.e2e.command import by_strategy, simulate


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
