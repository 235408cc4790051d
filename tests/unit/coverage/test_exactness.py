"""Models that know nothing are rejected as rarely as the tests promise; the full number of tasks is a soak test."""

import pytest

from benchmarks.exactness import (
    ALPHAS,
    TASKS,
    Cell,
    embedded_table,
    probe_models,
    score_tables,
    simulate,
    simulate_probes,
)
from benchmarks.exactness import simulate_coverage as simulate_scores
from validator.coverage.result import judge_coverage

FEW_TASKS = 100


def too_many(cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.rejected > cell.limit(len(cells))]


def test_no_test_rejects_a_model_that_knows_nothing_too_often():
    cells = [cell for model, table in score_tables().items() for cell in simulate_scores(model, table, FEW_TASKS)]
    cells += [cell for model, probes in probe_models().items() for cell in simulate_probes(model, probes, TASKS)]
    assert too_many(cells) == []


@pytest.mark.soak
def test_no_test_rejects_a_model_that_knows_nothing_too_often_in_20_000_tasks():
    cells = list(simulate(TASKS))
    assert len({(cell.test, cell.model) for cell in cells}) * len(ALPHAS) == len(cells)
    assert too_many(cells) == []


def test_the_embedded_model_scores_its_own_candidates_without_ties():
    """So that among the simulated models there is a real one."""
    table = embedded_table()
    assert len(table) > 90
    assert all(len(set(scores)) == len(scores) for scores in table)


def test_a_model_that_knows_the_picks_is_rejected_every_time():
    """The simulation can fail: a table that looks at the picks is what it must not take for chance."""
    picks = [row % 8 for row in range(100)]
    knowing = [tuple(float(candidate == pick) for candidate in range(8)) for pick in picks]
    assert judge_coverage(knowing, [8] * 100, picks, seed=1).log10_p < -80
    assert too_many([Cell("any", "knowing", alpha, 100, 100, alpha) for alpha in ALPHAS])
