"""The stealth battery as a miner uses it: every detector has a name to be written, and a number for every row."""

import math

import pytest

from miner_sim.detection import detector_names, suspect
from tests.miner_sim.world import BASE_MODEL
from tests.miner_sim.zoo import ROWS
from validator.stealth.battery import DETECTORS


def test_every_detector_of_the_battery_has_a_name_of_its_own() -> None:
    names = detector_names()
    assert len(names) == len(set(names)) == len(DETECTORS) + 5  # the markable rows, three of ranks, imitation
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "slot-aligned-nearest-neighbours",
        "mean-likelihood",
        "loss-after-an-epoch",
        "norm-of-the-gradient",
        "rows-that-may-be-marked",
        "generators-ranks-worst-of-the-opening",
        "imitation",
    ],
)
def test_detectors_of_every_kind_look_at_every_row(name: str) -> None:
    scores = suspect(str(BASE_MODEL), ROWS, "canary", name)
    assert len(scores) == len(ROWS)
    assert all(map(math.isfinite, scores))
    assert len(set(scores)) > 1 or name == "rows-that-may-be-marked"
