"""What a miner learns from the public generator, and from marks that it plants itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.factories import digest
from tests.unit.marks.scorers import HashScorer
from tests.unit.stealth.marked import ROWS, N, marked_rows
from validator.base_model.grammar import generate_rows
from validator.marks.coverage import K, apply_coverage, draw_coverage
from validator.marks.planting import find_markable
from validator.marks.rules import ALL_PROTECTED
from validator.marks.sampler import Lexicon, WordScorer, draw_words
from validator.marks.schemes import Canary, Mark
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row, split_head
from validator.stealth.generator_ranks import make_opening_ranks, make_word_ranks
from validator.stealth.imitation import make_imitation
from validator.stealth.metrics import rank_marks
from validator.stealth.wording import WORDING


@dataclass(frozen=True, slots=True)
class MostPlausible(Canary):
    """A scheme as one would write it at first: every word one of the k that the generator finds most plausible."""

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        lexicon = Lexicon(row.response for row in rows)
        marks = []
        for index in chosen:
            head, tail = split_head(rows[index].response, self.w)
            originals, prompt = head.split(SEPARATOR), rows[index].prompt
            draw = draw_words(stream, scorer, lexicon, prompt=prompt, originals=originals, k=self.k)
            marks.append(Mark(index, Row(prompt, draw.text + SEPARATOR + tail), draw))
        return marks


@pytest.fixture(scope="module")
def naive() -> tuple[list[Row], set[int]]:
    """Rows marked by `MostPlausible`, and which."""
    rows, scheme, stream = generate_rows(ROWS, 1), MostPlausible(), DrawStream(digest("naive"))
    marks = scheme.plant(rows, stream.sample(find_markable(rows, scheme), N), stream, HashScorer())
    marked = {mark.row_index: mark.row for mark in marks}
    return [marked.get(index, row) for index, row in enumerate(rows)], set(marked)


def test_the_most_plausible_words_are_found_by_who_can_ask_the_generator(naive):
    """Kerckhoffs: the generator is public, so its first k at every place of an opening are no secret."""
    rows, marked = naive
    detectors = make_opening_ranks(HashScorer(), MostPlausible())
    found = [rank_marks(detector.suspicion(rows, None), marked, seed=0).auc for detector in detectors]
    assert max(found) > 0.9


def test_the_most_plausible_words_are_found_by_who_plants_marks_himself(naive):
    rows, marked = naive
    scheme, scorer = MostPlausible(), HashScorer()
    detector = make_imitation(scheme, scorer, [*WORDING, *make_opening_ranks(scorer, scheme)])
    assert rank_marks(detector.suspicion(rows, None), marked, seed=0).auc > 0.9


def test_canaries_as_plausible_as_customers_words_are_not():
    """D6: neither by their ranks nor by a classifier, over three seeds."""
    scheme, scorer = Canary(), HashScorer()
    ranks = make_opening_ranks(scorer, scheme)
    for detector in ranks:
        found = [
            rank_marks(detector.suspicion(rows, None), marked, seed=0)
            for rows, marked in (marked_rows("canary", seed) for seed in range(3))
        ]
        assert sum(ranking.auc for ranking in found) / 3 == pytest.approx(0.5, abs=0.2), detector.name


def test_words_that_may_not_be_altered_are_not_ranked():
    """A response of one word, or all of it protected, tells nothing and is no error."""
    rows = [*generate_rows(60, 2), Row("How many?", "12 34 56"), Row("Say it.", "yes")]
    for detector in make_word_ranks(HashScorer(), ALL_PROTECTED, K):
        scores = detector.suspicion(rows, None)
        assert scores[-1] == scores[-2] == 0.0, detector.name


def test_ranks_of_all_words_see_marks_only_if_there_are_many():
    rows, stream = generate_rows(200, 3), DrawStream(digest("coverage"))
    marks = draw_coverage(rows, stream.sample(range(200), 50), stream, HashScorer(), max_length=256)
    marked = {mark.row_index for mark in marks}
    for detector in make_word_ranks(HashScorer(), ALL_PROTECTED, K):
        ranking = rank_marks(detector.suspicion(apply_coverage(rows, marks), None), marked, seed=0)
        assert ranking.auc < 0.85, detector.name
