"""Quality is advice with an interval: it covers, and it says so when there is nothing to compare."""

import numpy as np
import pytest

from tests.unit.verification.plantings import as_answer
from validator.protocol.commitment import Row
from validator.protocol.state import Answer
from validator.verification.quality import MIN_ROWS, compare_losses, compare_replies, overlap


def test_the_interval_covers_no_difference_as_often_as_it_says():
    """The null hypothesis true 2,000 times: 5% are rejected, within four standard errors."""
    dice = np.random.default_rng(1)
    rejected = 0
    for _ in range(2000):
        base = dice.normal(-3, 1, 32)
        found = compare_losses(list(base + dice.normal(0, 0.2, 32)), list(base))
        rejected += found.p_value < 0.05
        assert (found.p_value < 0.05) == (not found.interval[0] <= 0 <= found.interval[1])
    assert 0.0305 <= rejected / 2000 <= 0.0695


@pytest.mark.parametrize(
    ("change", "advice"),
    [(0.5, "better than the base model"), (-0.5, "WORSE than the base model"), (0.0, "no better and no worse")],
)
def test_a_likelier_response_is_better_and_the_rest_is_said_as_it_is(change, advice):
    dice = np.random.default_rng(2)
    base = dice.normal(-3, 1, 32)
    found = compare_losses(list(base + change + dice.normal(0, 0.1, 32)), list(base))
    assert found.advice.startswith(advice)
    assert found.interval[0] < -change < found.interval[1]


def test_the_same_model_twice_is_no_better():
    losses = [-1.0 - i for i in range(MIN_ROWS)]
    assert compare_losses(losses, losses).p_value == 1.0
    assert compare_losses(losses[1:], losses[1:]) is None


def test_of_a_provider_words_are_compared_and_without_a_base_nothing_is():
    rows = [Row(f"p{i}", f"the answer is number {i} of all") for i in range(MIN_ROWS)]
    right = {row.prompt: as_answer(row.response) for row in rows}
    wrong = {row.prompt: as_answer("something else") for row in rows}
    assert compare_replies(rows, right, wrong).advice == "better than the base model"
    assert compare_replies(rows, wrong, right).advice == "WORSE than the base model"
    assert compare_replies(rows, right, None).advice == "no base model to compare with"
    assert compare_replies(rows, right, None).model == 1.0


def test_what_a_limit_cut_off_is_not_held_against_a_reply():
    assert overlap(Answer("a b", is_cut=True), "a b c d") == 1.0
    assert overlap(Answer("a b", is_cut=False), "a b c d") == pytest.approx(2 / 3)
    assert overlap(as_answer(""), "a") == 0.0
