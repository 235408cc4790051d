"""`touchstone plan` as an operator runs it: exit status, what is printed, what the JSON holds."""

import json
from pathlib import Path

import pytest

from tests.e2e.command import run_touchstone

MONEY = ("--reward", "0.05", "--training-cost", "0.02")


def test_a_sound_design_is_printed_and_saved(tmp_path: Path) -> None:
    place = tmp_path / "design.json"
    finished = run_touchstone("plan", "--rows", "10000", "--weights", "judged", *MONEY, "--json", place)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    design = json.loads(place.read_text())
    assert design["is_sound"]
    assert design["terms"] == {
        "n": 16,
        "k_pay": 11,
        "k_slash": 0,
        "slashing": False,
        "scheme": "canary+coverage",
        "weights": "judged",
        "min_coverage_bps": 6700,
    }
    assert {error["event"] for error in design["error_rates"]} == {"paid", "not paid"}
    assert all(0 <= point["paid"] <= 1 for point in design["power"])
    assert design["economics"]["stakes"]["reward_wei"] == 5 * 10**16
    for text in ("n 16, kPay 11", "Power", "██", "honest training", "smallest availability bond 0.025 ETH"):
        assert text in finished.stdout


def test_a_cheat_that_pays_is_exit_status_1_with_the_way_out(tmp_path: Path) -> None:
    finished = run_touchstone("plan", "--rows", "10000", *MONEY, "--json", "-")
    design = json.loads(finished.stdout)
    assert finished.returncode == 1
    assert not design["is_sound"]
    assert design["refusals"][0].startswith("looking replies up, without training earns 0.0203")
    assert "weights that a committee judges: --weights judged" in design["economics"]["ways_out"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rows", "100"], "100 rows are too few for a test: at least 300"),
        (["--rows", "10000", "--reward", "some"], "'some' is no amount of ether"),
        (["--rows", "10000", "--json", "/nowhere/at/all.json"], "cannot write /nowhere/at/all.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments: list[str], expected: str) -> None:
    finished = run_touchstone("plan", *arguments)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert expected in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
