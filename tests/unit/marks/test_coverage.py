"""Coverage marks: where they may stand, that they are certified, and that nothing else of a row changes."""

from collections import Counter

import pytest
from scipy.stats import binomtest, chisquare

from tests.factories import CHAIN_ID, CONTRACT, PAYER, digest
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.marks.coverage import (
    MIN_MARKS,
    TOKENS_PER_PLACE,
    CoverageMark,
    K,
    apply_coverage,
    count_marks,
    draw_coverage,
)
from validator.marks.planting import plant
from validator.marks.protected import blank_protected, find_free_words
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.sampler import Lexicon, exact_shape
from validator.marks.schemes import CanaryAndCoverage, make_scheme
from validator.marks.secrets import DrawStream, Secrets
from validator.requests.planting_file import decode_coverage, encode_coverage

ROWS = generate_rows(300, seed=1)
EVERY = range(len(ROWS))
SECRETS = Secrets(digest("seed"), CHAIN_ID, CONTRACT)


def draw(seed: str = "stream", *, max_length: int = 256, **options) -> list[CoverageMark]:
    stream = DrawStream(digest(seed))
    return draw_coverage(ROWS, EVERY, stream, HashScorer(), max_length=max_length, **options)


def test_one_word_of_each_row_is_redrawn_and_nothing_else_changes():
    marks = draw()
    for mark, marked in zip(marks, apply_coverage(ROWS, marks), strict=True):
        before = ROWS[mark.row_index]
        words, others = before.response.split(" "), marked.response.split(" ")
        assert marked.prompt == before.prompt
        assert len(others) == len(words)
        assert [i for i, pair in enumerate(zip(words, others, strict=True)) if pair[0] != pair[1]] in ([], [mark.place])
        assert others[mark.place] == mark.word == mark.candidates[mark.pick]
        assert mark.put(marked, words[mark.place]) == before


def test_a_mark_has_k_different_candidates_without_white_space_in_the_shape_of_the_place():
    lexicon = Lexicon(blank_protected(row.response, ALL_PROTECTED, row.prompt) for row in ROWS)
    for mark in draw():
        row = ROWS[mark.row_index]
        original = row.response.split(" ")[mark.place]
        assert len(set(mark.candidates)) == K
        assert not any(map(str.isspace, "".join(mark.candidates)))
        assert original in mark.candidates
        shapes = {exact_shape(word) for word in lexicon.pool(original, is_opening=False, k=K, prompt=row.prompt)}
        assert set(map(exact_shape, mark.candidates)) <= shapes | {exact_shape(original)}


def test_the_first_word_is_never_marked_nor_one_beyond_what_is_trained_on():
    places = {mark.place for mark in draw(max_length=40)}
    assert min(places) == 1
    assert max(places) < 40 // TOKENS_PER_PLACE
    assert max(mark.place for mark in draw()) > 40 // TOKENS_PER_PLACE


def test_candidates_and_places_say_nothing_of_the_picks():
    """The null hypothesis rests on it: with other draws of the last word alone, all else stays as it was."""
    picks = Counter(mark.pick for seed in range(10) for mark in draw(str(seed)))
    assert chisquare([picks[pick] for pick in range(K)]).pvalue > 1e-4
    unchanged = sum(apply_coverage(ROWS, [mark])[mark.row_index] == ROWS[mark.row_index] for mark in draw())
    assert binomtest(unchanged, len(ROWS), 1 / K, alternative="greater").pvalue > 1e-4


def test_what_may_not_be_altered_is_left_and_a_row_without_a_place_has_no_mark():
    rules = AlterationRules(patterns=(r".*\bthe\b.*", "[a-e]+"))
    marks = draw(rules=rules)
    assert 0 < len(marks) < len(ROWS)
    for mark in marks:
        row = ROWS[mark.row_index]
        assert find_free_words(row, rules)[mark.place]
        assert not set("abcde") & set("".join(mark.candidates)), "what is protected is not offered either"


@pytest.mark.parametrize(("rows", "marks"), [(1, 1), (MIN_MARKS, MIN_MARKS), (4 * MIN_MARKS, MIN_MARKS), (9999, 2500)])
def test_a_quarter_of_the_rows_is_marked_and_at_least_a_thousand(rows, marks):
    assert count_marks(rows) == marks


def test_a_planting_is_the_same_each_time_and_its_coverage_survives_its_file():
    def planted():
        return plant(ROWS, CanaryAndCoverage(), 16, secrets=SECRETS, payer=PAYER, scorer=HashScorer())

    assert planted() == planted()
    coverage = planted().coverage
    assert decode_coverage(encode_coverage(coverage)) == list(coverage)
    assert [mark.row_index for mark in coverage] == sorted(set(EVERY) - {m.row_index for m in planted().marks})
    assert all(row.response.split(" ")[mark.place] == mark.word for row, mark in planted().covered)


def test_the_canaries_are_as_without_coverage_but_for_their_secrets():
    assert make_scheme("canary+coverage").coverage_k == K
    assert make_scheme("canary").coverage_k == 0
    assert plant(ROWS, make_scheme("canary"), 16, secrets=SECRETS, payer=PAYER, scorer=HashScorer()).coverage == ()
