"""The coverage verdict: its inputs are in it, and its numbers follow from them."""

import numpy as np
import pytest

from tests.unit.coverage.simulated import K, World, whole
from validator.coverage.ranks import Ranks
from validator.coverage.reference import Reference
from validator.coverage.result import CoverageResult, judge_coverage, judge_histograms, judge_ranks
from validator.errors import BadInput

DICE = np.random.default_rng(1)
WORLD = World()
REFERENCE = WORLD.reference(DICE)
HONEST, PARTIAL = (whole(WORLD.run(share, 1000, DICE)) for share in (1.0, 0.6))


def judge(histogram: tuple[int, ...], reference: Reference | None = REFERENCE) -> CoverageResult:
    return judge_histograms({len(histogram): histogram}, seed=7, dropped=3, reference=reference)


@pytest.mark.parametrize("result", [judge(HONEST), judge(PARTIAL), judge(HONEST, None)], ids=["all", "part", "alone"])
def test_a_result_survives_json(result):
    assert CoverageResult.from_json(result.to_json()) == result


def test_whoever_has_the_counts_and_the_reference_recomputes_everything():
    result = CoverageResult.from_json(judge(PARTIAL).to_json())
    again = judge_histograms(result.histograms, seed=result.seed, dropped=result.dropped, reference=REFERENCE)
    assert again == result
    assert result.trained
    assert result.trained.reference_id == REFERENCE.id


def test_an_honest_model_and_one_that_saw_part_are_told_apart():
    honest, partial = judge(HONEST), judge(PARTIAL)
    assert honest.log10_p < -400
    assert partial.log10_p < -50
    assert honest.low_bps > 8_500 > 7_000 > partial.low_bps > 4_000
    assert honest.trained
    assert honest.trained.by_rank[0] > 0.99


def test_without_a_reference_there_is_a_p_value_and_no_share():
    result = judge(HONEST, None)
    assert result.log10_p < -400
    assert result.trained is None
    assert result.low_bps == 0
    assert str(result) == f"coverage: {HONEST[0]} of 1000 drawn words rank first, log10 p = {result.log10_p:.1f}"


def test_a_result_prints_on_one_line():
    assert str(judge(PARTIAL)).startswith(f"coverage: {PARTIAL[0]} of 1000 drawn words rank first, log10 p = -")
    assert "; trained on " in str(judge(PARTIAL))
    assert "\n" not in str(judge(PARTIAL))


def test_from_scores_to_a_verdict():
    changes = [(2.0, 0.0, 1.0), None, (0.0, 1.0, 5.0), (3.0, 1.0, 1.0)]
    result = judge_coverage(changes, [3] * 4, [0, 1, 2, 0], seed=7)
    assert result.histograms == {3: (3, 0, 0)}
    assert (result.rows, result.top_ranks, result.dropped, result.seed) == (3, 3, 1, 7)
    assert result.rank_sum_log10_p == result.top_rank_log10_p == pytest.approx(3 * np.log10(1 / 3))
    assert result.log10_p == pytest.approx(np.log10(2 / 27))


def test_rows_that_differ_in_k_have_a_p_value_and_no_share():
    ranks = Ranks((0, 0, 1), (2, 3, 3))
    assert judge_ranks(ranks, seed=1).histograms == {2: (1, 0), 3: (1, 1, 0)}
    with pytest.raises(BadInput, match=r"\[2, 3\] candidates and a reference of 8"):
        judge_ranks(ranks, seed=1, reference=REFERENCE)


def test_where_nothing_could_be_scored_nothing_is_claimed():
    result = judge_coverage([None, None], [K, K], [0, 1], seed=1, reference=REFERENCE)
    assert (result.rows, result.dropped, result.log10_p, result.trained, result.low_bps) == (0, 2, 0.0, None, 0)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"histograms":{"x":[1]}}'])
def test_what_is_no_result_is_refused_in_one_line(data):
    with pytest.raises(BadInput, match="no coverage result") as caught:
        CoverageResult.from_json(data)
    assert "\n" not in str(caught.value)
