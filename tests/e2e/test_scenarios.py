"""`touchstone simulate SCENARIO`: from the library, with options before it, with faults that are really there."""

import time
from pathlib import Path

import pytest

from tests.e2e.command import CHEAPEST_TRAINING, by_strategy, run_touchstone, simulate
from tests.support import require_or_skip
from validator.edges.devnet import anvil_node
from validator.errors import BadInput

REWARD_WEI = 10**18


def test_the_library_is_listed() -> None:
    listed = run_touchstone("simulate", "--list")
    assert listed.returncode == 0
    for name in ("demo", "no-shows", "judged-weights"):
        assert f"  {name} " in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["dmeo"], "there is no scenario 'dmeo'"), (["demo", "--rank", "8"], "spec: the method lora has a rank")],
)
def test_a_scenario_that_makes_no_sense_is_one_line(arguments: list[str], expected: str) -> None:
    refused = run_touchstone("simulate", *arguments)
    (line,) = refused.stderr.splitlines()
    assert (refused.returncode, expected in line) == (2, True), line


def test_a_line_that_is_slow_and_breaks_changes_no_result_and_deadlines_cost_no_hours(tmp_path: Path) -> None:
    began_s = time.monotonic()
    report = simulate(tmp_path, "bad-line", "--miners", "lookup=1,silent=1,base=1", status=1)
    (lookup,), (silent,), (base,) = (by_strategy(report, name) for name in ("lookup", "silent", "base"))
    assert (lookup["outcome"], silent["outcome"], base["outcome"]) == ("paid", "open_lapsed", "slashed")
    assert lookup["to_miner_wei"] == base["burned_wei"] == REWARD_WEI
    assert time.monotonic() - began_s < 300, "the time to accept is an hour, and nobody waited for it"
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert "cannot be read" in log or "retry_scheduled" in log


@pytest.mark.soak
async def test_blocks_at_intervals_and_a_clock_that_is_moved_on_a_real_node(tmp_path: Path) -> None:
    try:
        async with anvil_node():
            pass
    except BadInput as error:
        require_or_skip(str(error))
    scenario = tmp_path / "slow.toml"
    scenario.write_text(
        'chain = "anvil"\n'
        '[population]\nlookup = { strategy = "lookup" }\nsilent = { strategy = "silent" }\n'
        "[faults]\nblock_time_s = 1\n"
    )
    report = simulate(tmp_path, scenario, status=1)
    assert [miner["outcome"] for miner in report["miners"]] == ["paid", "open_lapsed"]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_validator_whose_node_is_slow_judges_in_time(tmp_path: Path) -> None:
    """It learns seconds later that a model is there, and as long passes from a settlement to what it signs."""
    scenario = tmp_path / "slow.toml"
    scenario.write_text('[population]\nunsigned = { strategy = "unsigned" }\n[faults]\nnode_delay_s = 1.5\n')
    report = simulate(tmp_path, scenario, "--weights", "judged", *CHEAPEST_TRAINING, status=1)
    assert [miner["outcome"] for miner in report["miners"]] == ["paid"]
