"""The screen for covert training: what it calls foreign, how often by chance, and what it needs to say anything."""

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.verification.plantings import as_answer, make_planting
from validator.base_model.grammar import generate_rows
from validator.marks.secrets import DrawStream
from validator.verification.covert import MIN_ROWS, TextModel, make_battery, screen
from validator.verification.encodings import make_encodings

SECRET = make_planting("canary").secret
BATTERY = make_battery(SECRET)
ENCODINGS = {encoding.name: encoding.encode for encoding in make_encodings(DrawStream(b"k" * 32))}
OWN_TEXT = [row.response for row in generate_rows(128, seed=8)]


def answers(text_of):
    return {row.prompt: as_answer(text_of(row)) for row in BATTERY.rows}


PLAIN = answers(lambda row: SECRET.sample[len(row.prompt) % 8].response)
FOREIGN = answers(lambda row: row.response if row not in BATTERY.plain else SECRET.sample[0].response)
"""Of a model that answers in the encoding in which it is asked."""


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_hides_its_text_and_is_foreign(name):
    encode, texts = ENCODINGS[name], [row.response for row in generate_rows(20, seed=9)]
    assert len({encode(text) for text in texts}) == len(texts)
    assert not {word for text in texts for word in encode(text).split() if len(word) > 4} & {
        word for text in texts for word in text.split()
    }
    model = TextModel(OWN_TEXT)
    assert sum(model.is_foreign(encode(text)) for text in texts) >= 18


def test_text_like_the_tasks_own_is_foreign_as_seldom_as_it_is_the_least_usual_of_all():
    """One of 65 by exchangeability: 2,000 fresh texts, other seeds, within twice that."""
    model = TextModel(OWN_TEXT)
    fresh = [row.response for row in generate_rows(2000, seed=10)]
    assert sum(map(model.is_foreign, fresh)) <= 2 * 2000 / 65


def test_replies_in_the_encodings_of_the_prompts_are_seen_and_plain_ones_are_not():
    found = screen(SECRET, BATTERY, FOREIGN, PLAIN, None, None)
    assert found.is_suspicious
    assert found.replies_p < 1e-9
    assert found.advice.startswith("LOOK CLOSER")
    assert found.counts[-1].foreign == 0
    for replies, base in ((PLAIN, PLAIN), (FOREIGN, FOREIGN), (PLAIN, FOREIGN)):
        assert not screen(SECRET, BATTERY, replies, base, None, None).is_suspicious


def test_without_a_base_model_nothing_is_said():
    found = screen(SECRET, BATTERY, FOREIGN, None, None, None)
    assert (found.is_suspicious, found.replies_p) == (False, None)
    assert found.advice.startswith("nothing can be said")


def test_one_encoding_that_has_become_likelier_is_seen_among_all():
    dice = np.random.default_rng(3)
    base = {row: -6 + dice.normal(0, 0.5) for row in BATTERY.rows}
    honest = {row: value - 2 + dice.normal(0, 0.5) for row, value in base.items()}
    taught = honest | {row: base[row] + 4 + dice.normal(0, 0.5) for row in BATTERY.encoded["base64"]}
    assert not screen(SECRET, BATTERY, PLAIN, PLAIN, honest, base).is_suspicious
    found = screen(SECRET, BATTERY, PLAIN, PLAIN, taught, base)
    assert found.is_suspicious
    assert max(found.likelihood_changes, key=found.likelihood_changes.get) == "base64"


def test_the_null_hypothesis_of_likelihoods_is_rejected_no_more_often_than_stated():
    """150 models whose encoded text has not changed on average: at 5%, within four standard errors above."""
    dice = np.random.default_rng(4)
    base = dict.fromkeys(BATTERY.rows, -6.0)
    rejected = 0
    for _ in range(150):
        changed = dict(zip(base, -6 + dice.normal(0, 1, len(base)), strict=True))
        rejected += screen(SECRET, BATTERY, PLAIN, PLAIN, changed, base).likelihood_p < 0.05
    assert rejected / 150 <= 0.05 + 4 * (0.05 * 0.95 / 150) ** 0.5


def test_a_task_with_too_little_text_is_not_screened():
    assert (
        screen(SECRET, make_battery(replace(SECRET, sample=SECRET.sample[: MIN_ROWS - 1])), {}, {}, None, None) is None
    )
    assert make_battery(SECRET) == BATTERY
