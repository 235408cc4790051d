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
    draw_alike,
    draw_words,
    exact_shape,
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


def test_a_sampled_pool_holds_words_as_often_as_they_stand_in_such_places():
    """A pool of the most frequent words would have marks hold fewer rare words than customers' texts."""
    lexicon = Lexicon(
        [f"x {'often ' * 90}" + " ".join(f"rar{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600))]
    )
    stream = DrawStream(digest("pool"))
    pools = [lexicon.pool("words", is_opening=False, k=2, stream=stream) for _ in range(40)]
    assert all(len(pool) == len(set(pool)) == POOL_SIZE for pool in pools)
    assert all("often" in pool for pool in pools)
    assert len(set().union(*pools)) > 500, "the rare ones take turns"


def test_a_sampled_pool_of_few_words_has_at_least_k():
    lexicon = Lexicon(["x " + "the " * 10_000 + "cat"])
    assert set(lexicon.pool("one", is_opening=False, k=2, stream=DrawStream(digest("few")))) == {"the", "cat"}


def alike(words, places, k=4, seed="draw", scorer=None) -> Draw:
    return draw_alike(
        DrawStream(digest(seed)), scorer or HashScorer(), LEXICON, prompt="How?", words=words, places=places, k=k
    )


WRITTEN = ["Good", "news,", "the", "meeting", "was", "moved"]


def test_candidates_are_as_plausible_as_the_customers_own_word():
    """Whoever has the generator scores the words too: were marks its favourites, they would show."""
    drawn = alike(WRITTEN, [2])
    assert "the" in drawn.candidates[0]
    pool = LEXICON.pool("the", is_opening=False, k=4, stream=DrawStream(digest("draw")))
    prefix, following = "Good news,", "meeting was moved"
    (own,) = HashScorer().score("How?", prefix, ["the"], following)
    gaps = {
        word: abs(score - own)
        for word, score in zip(pool, HashScorer().score("How?", prefix, pool, following), strict=True)
    }
    offered = [gaps[word] for word in drawn.candidates[0] if word in gaps]
    assert max(offered) <= min(gap for word, gap in gaps.items() if word not in drawn.candidates[0])


def test_a_word_is_compared_with_the_customers_own_where_that_stood():
    """At the second place the drawn prefix is another one than the customer's."""
    asked = []

    class Noting(HashScorer):
        def score(self, prompt, prefix, words, following=""):
            asked.append((prefix, tuple(words), following))
            return super().score(prompt, prefix, words, following)

    for seed in range(20):
        asked.clear()
        drawn = alike(WRITTEN, [0, 1], seed=str(seed), scorer=Noting())
        if drawn.words[0] != WRITTEN[0]:
            break
    assert [prefix for prefix, _, _ in asked] == ["", drawn.words[0], WRITTEN[0]]
    assert asked[-1][1] == (WRITTEN[1],)
    assert {following for _, _, following in asked} == {"the meeting was moved"}


@given(st.integers(1, 4), st.sampled_from([2, 4]))
def test_words_drawn_alike_are_certified_as_others_are(w, k):
    drawn = alike(WRITTEN, range(w), k)
    assert drawn.p0 == k**-w
    assert all(len(set(options)) == k for options in drawn.candidates)
