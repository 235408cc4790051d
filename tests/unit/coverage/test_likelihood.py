"""Candidates are scored in the context of training, one token at a time on the other side of each comparison."""

from dataclasses import replace
from random import Random

import pytest
import torch

from validator.base_model import EMBEDDED_MODEL
from validator.base_model.grammar import generate_rows
from validator.coverage.likelihood import (
    FOLLOWING_TOKENS,
    find_windows,
    log_likelihoods,
    score_marks,
    subtract,
)
from validator.language_model import load, prompt_tokens, response_tokens
from validator.marks.coverage import CoverageMark
from validator.protocol.commitment import Row
from validator.training import Recipe, _encode

WORDS = ("water", "Constantinople", "a", "don't", "42,", "naïve", "x(y)", "日本")
"""One token and many, punctuation, digits, and what is no ASCII."""
LENGTHS = {"max_length": 96, "prompt_limit": 48}


@pytest.fixture(scope="module")
def model():
    return load(EMBEDDED_MODEL)


def make_marks(rows: list[Row], k: int = len(WORDS)) -> list[CoverageMark]:
    dice = Random(1)
    return [
        CoverageMark(index, dice.randrange(1, len(row.response.split(" "))), WORDS[:k], dice.randrange(k))
        for index, row in enumerate(rows)
    ]


def one_by_one(network, tokenizer, row: Row, mark: CoverageMark, candidate: str) -> float:
    """The log-likelihood without batches, caches or offsets: word and following text as their own tokens."""
    words = row.response.split(" ")
    before, after = " ".join(words[: mark.place]), "".join(f" {word}" for word in words[mark.place + 1 :])
    context = prompt_tokens(tokenizer, row.prompt, LENGTHS["prompt_limit"]) + response_tokens(tokenizer, before)[:-1]
    own = response_tokens(tokenizer, f" {candidate}")[:-1]
    following = response_tokens(tokenizer, after)[:FOLLOWING_TOKENS]
    tokens = context + own + following
    with torch.inference_mode():
        logs = torch.log_softmax(network(torch.tensor([tokens])).logits[0].double(), dim=-1)
    return sum(float(logs[place - 1, tokens[place]]) for place in range(len(context), len(tokens)))


def test_every_candidate_has_the_likelihood_of_its_own_and_the_next_six_tokens(model):
    network, tokenizer = model
    rows = generate_rows(12, 1)
    marks = make_marks(rows)
    scores = log_likelihoods(network, find_windows(tokenizer, rows, marks, **LENGTHS))
    for mark, found in zip(marks, scores, strict=True):
        assert found is not None
        expected = [one_by_one(network, tokenizer, rows[mark.row_index], mark, word) for word in mark.candidates]
        assert found == pytest.approx(expected, abs=1e-3)


def test_the_drawn_word_is_scored_in_exactly_what_was_trained_on(model):
    _network, tokenizer = model
    recipe = Recipe("full", 1, 1e-3, 4, LENGTHS["max_length"], 0)
    rows = generate_rows(20, 2)
    marks = make_marks(rows)
    marked = [mark.put(row, mark.word) for row, mark in zip(rows, marks, strict=True)]
    for row, mark, window in zip(marked, marks, find_windows(tokenizer, marked, marks, **LENGTHS), strict=True):
        assert window is not None
        scored = [*window.context, *window.continuations[mark.pick]]
        assert _encode(tokenizer, row, recipe).tokens[: len(scored)] == scored


def test_scores_do_not_depend_on_the_pick(model):
    _network, tokenizer = model
    rows = generate_rows(6, 3)
    marks = make_marks(rows)
    for pick in (0, 5):
        drawn = [replace(mark, pick=pick) for mark in marks]
        marked = [mark.put(row, mark.word) for row, mark in zip(rows, drawn, strict=True)]
        windows = find_windows(tokenizer, marked, drawn, **LENGTHS)
        assert windows == find_windows(tokenizer, rows, marks, **LENGTHS)


def test_scores_do_not_depend_on_what_else_is_scored(model):
    network, tokenizer = model
    rows = generate_rows(30, 4)
    marks = make_marks(rows)
    windows = find_windows(tokenizer, rows, marks, **LENGTHS)
    together = log_likelihoods(network, windows)
    for number in (0, 7, 29):
        (alone,) = log_likelihoods(network, [windows[number]])
        assert alone == pytest.approx(together[number], abs=1e-3)


def test_a_mark_is_dropped_where_the_window_does_not_hold_every_candidate(model):
    _network, tokenizer = model
    row = generate_rows(1, 5)[0]
    mark = CoverageMark(0, 2, ("water", "Constantinople"), 0)
    (whole,) = find_windows(tokenizer, [row], [mark], **LENGTHS)
    assert whole is not None
    needed = len(whole.context) + max(map(len, whole.continuations))
    for length, expected in ((needed, whole), (needed - 1, None)):
        for pick in (0, 1):
            (found,) = find_windows(tokenizer, [row], [replace(mark, pick=pick)], max_length=length, prompt_limit=48)
            assert found == expected


def test_a_response_that_ends_has_fewer_following_tokens(model):
    _network, tokenizer = model
    row = Row("Say it.", "one two three")
    (window,) = find_windows(tokenizer, [row], [CoverageMark(0, 2, ("water", "river"), 0)], **LENGTHS)
    assert window is not None
    assert {continuation[-1] for continuation in window.continuations} == {tokenizer.eos_token_id}


def test_a_model_that_did_not_change_ties_everywhere(model):
    network, tokenizer = model
    rows = generate_rows(5, 6)
    assert score_marks(network, network, tokenizer, rows, make_marks(rows), **LENGTHS) == [(0.0,) * 8] * 5


def test_a_changed_model_changes_the_scores_by_the_difference(model):
    network, tokenizer = model
    other, _tokenizer = load(EMBEDDED_MODEL)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.01)
    rows = generate_rows(4, 7)
    marks = [*make_marks(rows[:2]), *(replace(mark, row_index=mark.row_index + 2) for mark in make_marks(rows[2:], 3))]
    windows = find_windows(tokenizer, rows, marks, **LENGTHS)
    changes = score_marks(network, other, tokenizer, rows, marks, **LENGTHS)
    assert changes == subtract(log_likelihoods(other, windows), log_likelihoods(network, windows))
    assert [len(change) for change in changes if change] == [8, 8, 3, 3]
    assert any(abs(value) > 0.01 for change in changes if change for value in change)


def test_what_is_not_scored_has_no_difference():
    assert subtract([None, (1.0, 2.0)], [None, (0.5, 3.0)]) == [None, (0.5, -1.0)]
