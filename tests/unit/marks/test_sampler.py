"""Certified draws: k different whole words at each of w places, the shape kept, the bound exact."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import digest
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.errors import BadInput
from validator.marks.sampler import (
    POOL_SIZE,
    Draw,
    Lexicon,
    coarse_shape,
    draw_words,
    exact_shape,
    find_relative_rank,
)
from validator.marks.secrets import DrawStream

LEXICON = Lexicon(row.response for row in generate_rows(300, seed=1))
ORIGINALS = ["Good", "news,", "the", "meeting"]
openings = st.lists(st.sampled_from(["The", "of", "kitchen", "3", "news,", "Well:", "x=4", "№", "o'clock", "A"]))


def draw(originals, k=4, seed="draw", **more) -> Draw:
    return draw_words(DrawStream(digest(seed)), HashScorer(), LEXICON, prompt="How?", originals=originals, k=k, **more)


@given(openings.filter(len), st.sampled_from([2, 4, 16]))
def test_each_place_offers_exactly_k_different_words_without_white_space(originals, k):
    drawn = draw(originals, k)
    assert [len(options) for options in drawn.candidates] == [k] * len(originals)
    for options in drawn.candidates:
        assert len(set(options)) == k
        assert all(word and not any(map(str.isspace, word)) for word in options)
    assert all(0 <= pick < k for pick in drawn.picks)


@given(st.integers(1, 16), st.sampled_from([2, 4, 16, 32]))
def test_the_bound_is_exactly_one_in_k_to_the_w(w, k):
    assert draw(["the"] * w, k).p0 == k**-w


@given(openings.filter(len))
def test_the_text_is_the_words_and_the_words_are_the_text(originals):
    drawn = draw(originals)
    assert drawn.text.split(" ") == list(drawn.words)
    assert drawn.words == tuple(options[pick] for options, pick in zip(drawn.candidates, drawn.picks, strict=True))


def test_different_picks_are_different_texts():
    """The bijection on which the bound rests: k^w picks, k^w texts."""
    options = draw(["the"] * 3).candidates
    texts = {Draw(options, picks).text for picks in product(range(4), repeat=3)}
    assert len(texts) == 4**3


def test_every_pick_is_as_likely_as_any_other():
    stream, scorer = DrawStream(digest("uniform")), HashScorer()
    picks = Counter(
        draw_words(stream, scorer, LEXICON, prompt="", originals=["the", "of"], k=2).picks for _ in range(400)
    )
    assert set(picks) == set(product(range(2), repeat=2))
    assert all(70 < count < 130 for count in picks.values())


def test_the_same_stream_draws_the_same_words_and_another_one_others():
    assert draw(ORIGINALS) == draw(ORIGINALS)
    assert len({draw(ORIGINALS, seed=str(i)).text for i in range(20)}) > 15


def test_candidates_are_the_most_plausible_of_the_pool_ties_by_alphabet():
    pool = LEXICON.pool("the", is_opening=True, k=4)
    scores = dict(zip(pool, HashScorer().score("How?", "", pool), strict=True))
    assert list(draw(["the"]).candidates[0]) == sorted(pool, key=lambda word: (-scores[word], word))[:4]


def test_later_places_see_the_words_that_were_drawn():
    first = draw(["the", "the"])
    rest = draw(["the"], seed="other", prefix=first.words[0])
    assert rest.candidates[0] == first.candidates[1]


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("the", "a"),
        ("kitchen", "a+"),
        ("Sure,", "Aa,"),
        ("Certainly:", "Aa+:"),
        ("A", "A"),
        ("USA", "AA"),
        ("3", "0"),
        ("1,250.", "0,0."),
        ("o'clock", "a'a"),
        ("24-hour", "0-a"),
        ("été", "a"),
        ("", ""),
    ],
)
def test_exact_shape_keeps_case_length_class_digits_and_punctuation(word, shape):
    assert exact_shape(word) == shape


@pytest.mark.parametrize(
    ("word", "shape"),
    [("Sure,", "A,"), ("kitchen", "a"), ("3rd", "0"), ("$5", "."), ("(well)", ".)"), ("", "."), ("№", ".№")],
)
def test_coarse_shape_keeps_the_first_kind_and_the_closing_punctuation(word, shape):
    assert coarse_shape(word) == shape


@pytest.mark.parametrize("original", ["the", "kitchen", "news,", "3"])
def test_common_shapes_are_kept_exactly(original):
    assert {exact_shape(word) for word in LEXICON.pool(original, is_opening=False, k=4)} == {exact_shape(original)}


def test_an_opening_word_is_drawn_from_openings():
    assert set(LEXICON.pool("The", is_opening=True, k=4)) <= {
        row.response.split(" ")[0] for row in generate_rows(300, seed=1)
    }


def test_a_rare_shape_falls_back_to_a_coarser_one_and_then_to_any():
    lexicon = Lexicon(["One two, three, four Five-six 7"])
    assert lexicon.pool("x-y,", is_opening=False, k=2) == ["three,", "two,"]
    assert len(lexicon.pool("§", is_opening=False, k=5)) == 5


def test_pools_hold_the_most_frequent_words_first_and_not_too_many():
    lexicon = Lexicon(
        [f"x {'ab ' * 3}{'cd ' * 2}ef" for _ in range(2)]
        + [f"x w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
    )
    pool = lexicon.pool("of", is_opening=False, k=2)
    assert pool[:3] == ["ab", "cd", "ef"]
    assert len(pool) <= POOL_SIZE
    assert len(lexicon.pool("one", is_opening=False, k=2)) == POOL_SIZE


def test_words_with_inner_white_space_are_never_offered():
    lexicon = Lexicon(["a one\ttwo three\nfour five\u00a0six seven\u2003 eight  nine"])
    assert set(lexicon.pool("word", is_opening=False, k=2)) == {"eight", "nine"}


def test_too_few_words_are_refused_with_the_number_needed():
    """D4."""
    with pytest.raises(BadInput, match=r"too few different words.* 4 are needed"):
        Lexicon(["yes no", "no yes"]).pool("yes", is_opening=False, k=4)


def test_candidates_stand_at_the_ranks_that_customers_own_words_have():
    """Whoever has the generator ranks the words too: were marks always among the first k, they would show."""
    pool = LEXICON.pool("the", is_opening=True, k=4)
    scores = HashScorer().score("How?", "", pool)
    best_first = [word for _score, word in sorted(zip(scores, pool, strict=True), key=lambda pair: -pair[0])]
    natural = [0.25, 0.5, 0.75, 1.0]
    drawn = Counter(
        word for seed in range(200) for word in draw(["the"], seed=str(seed), natural=[natural]).candidates[0]
    )
    wanted = [min(int(rank * len(pool)), len(pool) - 1) for rank in natural]
    for rank in wanted:
        assert drawn[best_first[rank]] > 200 / len(natural)
    assert sum(drawn[best_first[rank]] for rank in range(wanted[0] - 3)) == 0


def test_the_rank_of_a_word_is_its_place_in_its_own_pool():
    pool = LEXICON.pool("the", is_opening=False, k=4)

    def rank(word):
        return find_relative_rank(HashScorer(), LEXICON, prompt="", words=["So", word], place=1, k=4)

    assert sorted(rank(word) for word in pool) == [place / len(pool) for place in range(len(pool))]
    assert rank("zyx") == 1.0
