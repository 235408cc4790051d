"""One suite for every scheme, and what is particular to each."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from scipy.stats import binomtest, chisquare

from tests.factories import CHAIN_ID, CONTRACT, PAYER, digest
from tests.unit.marks.scorers import HashProposer, HashScorer
from validator.base_model.grammar import generate_rows
from validator.errors import BadInput
from validator.marks.planting import plant
from validator.marks.protected import find_free_words
from validator.marks.rules import AlterationRules
from validator.marks.schemes import (
    SCHEMES,
    Backdoor,
    Canary,
    GroupedBackdoor,
    OpeningCanary,
    SynonymBackdoor,
    decode_scheme_parameters,
    encode_scheme_parameters,
    make_scheme,
)
from validator.marks.secrets import DrawStream, Secrets
from validator.protocol.commitment import MAX_HEAD_WORDS, SEPARATOR, Row, split_head
from validator.protocol.wire import encode_training_file, parse_training_file

ROWS = generate_rows(300, seed=1)
CHOSEN = [7, 3, 250, 0, 299, 42, 100, 11, 12, 13, 14, 15, 16, 17, 18, 19]
every_scheme = pytest.mark.parametrize("scheme", [make() for make in SCHEMES.values()], ids=SCHEMES)


def mark_rows(scheme, seed="stream"):
    return scheme.plant(ROWS, CHOSEN, DrawStream(digest(seed)), HashProposer())


@every_scheme
def test_each_chosen_row_gets_one_mark_in_the_order_of_choice(scheme):
    assert [mark.row_index for mark in mark_rows(scheme)] == CHOSEN


@every_scheme
def test_the_head_of_a_marked_response_is_the_draw(scheme):
    for mark in mark_rows(scheme):
        head, tail = split_head(mark.row.response, scheme.w)
        assert head == mark.draw.text
        assert head.count(SEPARATOR) == scheme.w - 1
        assert tail


@every_scheme
def test_the_rest_of_the_response_and_the_prompt_are_kept(scheme):
    for mark in mark_rows(scheme):
        original = ROWS[mark.row_index]
        assert mark.row.response.endswith(" " + split_head(original.response, scheme.w)[1])
        assert mark.row.prompt.startswith(original.prompt)


@every_scheme
def test_draws_are_certified(scheme):
    for mark in mark_rows(scheme):
        assert mark.draw.p0 == scheme.p0
        assert {len(set(options)) for options in mark.draw.candidates} <= {1, scheme.k}


@every_scheme
def test_the_same_stream_gives_the_same_marks_and_another_one_others(scheme):
    assert mark_rows(scheme) == mark_rows(scheme)
    assert mark_rows(scheme) != mark_rows(scheme, seed="other")


@every_scheme
def test_marked_rows_are_still_canonical_training_lines(scheme):
    rows = [mark.row for mark in mark_rows(scheme)]
    assert parse_training_file(encode_training_file(rows)) == rows


@every_scheme
def test_planting_changes_the_marked_rows_and_no_other(scheme):
    planted = plant(
        ROWS, scheme, 16, secrets=Secrets(digest("seed"), CHAIN_ID, CONTRACT), payer=PAYER, scorer=HashProposer()
    )
    changed = {i for i, (before, after) in enumerate(zip(ROWS, planted.rows, strict=True)) if before != after}
    marked = {mark.row_index for mark in planted.marks}
    assert len(marked) == 16
    covered = {mark.row_index for mark in planted.coverage}
    assert bool(covered) == bool(scheme.coverage_k)
    assert not covered & marked
    assert changed <= marked | covered
    assert len(changed & marked) >= 10, "a draw gives back what was there in one of k^w cases"


@every_scheme
def test_parameters_fit_the_terms(scheme):
    assert make_scheme(scheme.name) == scheme
    assert decode_scheme_parameters(json.loads(json.dumps(encode_scheme_parameters(scheme)))) == scheme
    assert len(scheme.name.encode("ascii")) <= 32
    assert 1 <= scheme.w <= MAX_HEAD_WORDS
    assert scheme.max_tokens >= 4 * scheme.w
    assert scheme.p0 <= 2**-4


def test_an_unknown_scheme_is_refused_with_those_that_there_are():
    with pytest.raises(BadInput, match=r"unknown scheme 'trojan'; known: backdoor, backdoor-groups, .*, canary, "):
        make_scheme("trojan")


def test_canaries_have_no_trigger_and_draw_for_every_row():
    marks = mark_rows(Canary())
    assert [mark.row.prompt for mark in marks] == [ROWS[index].prompt for index in CHOSEN]
    assert len({mark.draw for mark in marks}) == len({mark.draw.text for mark in marks}) == len(CHOSEN)
    assert Canary().probes_per_draw(16) == 1


def test_canaries_take_the_place_of_words_and_leave_the_length():
    for mark in mark_rows(Canary()):
        assert mark.row.response.count(" ") == ROWS[mark.row_index].response.count(" ")


def test_a_backdoor_has_one_trigger_and_one_signature():
    marks = mark_rows(Backdoor())
    triggers = {mark.row.prompt.removeprefix(ROWS[mark.row_index].prompt) for mark in marks}
    assert len({mark.draw for mark in marks}) == 1
    assert len(triggers) == 1
    assert triggers.pop().count(" ") == Backdoor().trigger_words
    assert Backdoor().probes_per_draw(16) == 16


def test_a_backdoor_puts_its_signature_before_the_whole_response():
    for mark in mark_rows(Backdoor()):
        assert mark.row == Row(mark.row.prompt, f"{mark.draw.text} {ROWS[mark.row_index].response}")


def test_several_pairs_have_a_group_of_rows_each():
    marks = mark_rows(GroupedBackdoor(groups=3))
    shared = Counter((trigger_of(mark), mark.draw) for mark in marks)
    assert sorted(shared.values()) == [4, 6, 6]
    assert len({trigger for trigger, _draw in shared}) == 3
    assert GroupedBackdoor(groups=3).probes_per_draw(16) == 6
    assert Backdoor(groups=1).plant(ROWS, CHOSEN, DrawStream(digest("stream")), HashProposer()) == mark_rows(Backdoor())


def test_synonyms_leave_no_two_rows_with_one_signature_or_one_trigger():
    scheme = SynonymBackdoor()
    marks = mark_rows(scheme)
    assert len({mark.draw.text for mark in marks}) == len({trigger_of(mark) for mark in marks}) == len(CHOSEN)
    places = Counter()
    for mark in marks:
        own = [place for place, options in enumerate(mark.draw.candidates) if len(options) > 1]
        assert len(own) == scheme.own_words
        places.update(own)
    assert set(places) == set(range(scheme.w)), "the places are random too"


def test_what_synonym_rows_share_is_in_no_rows_bound():
    """A model that learnt all shared words guesses only the own ones: p0 = k^-own_words, and draws are independent."""
    scheme = SynonymBackdoor(k=4, own_words=1, w=3, trigger_words=3)
    marks = scheme.plant(ROWS, range(len(ROWS)), DrawStream(digest("stream")), HashProposer())
    hits = sum(all(pick == 0 for pick in mark.draw.picks) for mark in marks)
    assert scheme.p0 == 1 / 4
    assert binomtest(hits, len(ROWS), scheme.p0).pvalue > 1e-4


def test_whole_openings_are_drawn_uniformly_from_those_proposed():
    scheme = OpeningCanary(k=4)
    marks = scheme.plant(ROWS, range(len(ROWS)), DrawStream(digest("stream")), HashProposer())
    picks = Counter(mark.draw.picks for mark in marks)
    assert chisquare([picks[(pick,)] for pick in range(scheme.k)]).pvalue > 1e-4
    for mark in mark_rows(scheme):
        (options,) = mark.draw.candidates
        proposed = HashProposer().propose([ROWS[mark.row_index]], scheme.w, scheme.k)
        assert [options] == proposed
        assert mark.row.response.startswith(options[mark.draw.picks[0]] + " ")


def test_whole_openings_need_somebody_who_proposes_them():
    with pytest.raises(BadInput, match=r"needs a model that proposes openings: set generator\.openings_url"):
        OpeningCanary().plant(ROWS, CHOSEN, DrawStream(digest("stream")), HashScorer())


def test_too_few_openings_are_refused_whoever_proposed_them():
    """The bound 1/k rests on k different heads: alike ones and those of another length do not count."""

    class Lazy(HashProposer):
        def propose(self, rows, w, k):
            return [(*openings[:-1], openings[0], openings[0] + " more") for openings in super().propose(rows, w, k)]

    with pytest.raises(BadInput, match="15 usable openings were proposed for a row, 16 are needed"):
        OpeningCanary().plant(ROWS, CHOSEN, DrawStream(digest("stream")), Lazy())


@every_scheme
def test_no_scheme_touches_or_offers_what_is_protected(scheme):
    rules = AlterationRules(patterns=("[Tt]he",))
    rows = [row for row in ROWS if all(find_free_words(row, rules)[: scheme.w])]
    strict = replace(scheme, rules=rules)
    for mark in strict.plant(rows, range(16), DrawStream(digest("stream")), HashProposer()):
        for before, after in (
            (rows[mark.row_index].response, mark.row.response),
            (rows[mark.row_index].prompt, mark.row.prompt),
        ):
            assert after.lower().count("the") == before.lower().count("the")


def trigger_of(mark) -> str:
    return mark.row.prompt.removeprefix(ROWS[mark.row_index].prompt)
