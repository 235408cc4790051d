"""The campaign of real runs: every run has its own seed, and what its lines say is what was put in."""

from dataclasses import asdict
from itertools import islice

import numpy as np
import pytest

from benchmarks.coverage import SPECS, Planned, build_reference, judge_lines, plan
from tests.unit.coverage.simulated import World
from validator.errors import BadInput


def lines_of(planned: list[Planned]):
    dice = np.random.default_rng(1)
    for run in planned:
        yield asdict(run) | {"runs": [asdict(World(tau=0.0).run(run.share, 1000, dice))], "cpu_s": 1.0}


@pytest.mark.parametrize("spec", SPECS)
def test_no_run_is_planned_twice_and_no_test_shares_rows_with_a_calibration(spec):
    runs = list(plan(spec))
    assert len({run.seed for run in runs}) == len(set(runs)) == len(runs)
    parts = [{run.part for run in runs if run.is_test == is_test} for is_test in (True, False)]
    assert parts[0] & parts[1] == set()


def test_estimates_come_from_the_test_lines_and_their_reference_from_the_others():
    lines = list(lines_of(list(islice(plan("full"), 22))))
    verdicts = judge_lines(build_reference("full", lines), lines)
    assert [verdict["share"] for verdict in verdicts] == [run["share"] for run in lines if run["is_test"]]
    for verdict in verdicts:
        assert verdict["estimate"] == pytest.approx(verdict["share"], abs=0.08)


def test_too_few_calibration_lines_are_refused():
    lines = list(lines_of(list(islice(plan("full"), 2))))
    with pytest.raises(BadInput, match="at least 2 runs"):
        build_reference("full", lines)
