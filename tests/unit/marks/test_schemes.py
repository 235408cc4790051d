"""One suite for every scheme, and what is particular to each."""

import pytest

from tests.factories import CHAIN_ID, CONTRACT, PAYER, digest
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.errors import BadInput
from validator.marks.planting import plant
from validator.marks.schemes import SCHEMES, Backdoor, Canary, make_scheme
from validator.marks.secrets import DrawStream, Secrets
from validator.protocol.commitment import MAX_HEAD_WORDS, Row, split_head
from validator.protocol.wire import encode_training_file, parse_training_file

ROWS = generate_rows(300, seed=1)
CHOSEN = [7, 3, 250, 0, 299, 42, 100, 11, 12, 13, 14, 15, 16, 17, 18, 19]
every_scheme = pytest.mark.parametrize("scheme", [make() for make in SCHEMES.values()], ids=SCHEMES)


def mark_rows(scheme, seed="stream"):
    return scheme.plant(ROWS, CHOSEN, DrawStream(digest(seed)), HashScorer())


@every_scheme
def test_each_chosen_row_gets_one_mark_in_the_order_of_choice(scheme):
    assert [mark.row_index for mark in mark_rows(scheme)] == CHOSEN


@every_scheme
def test_the_head_of_a_marked_response_is_the_draw(scheme):
    for mark in mark_rows(scheme):
        head, tail = split_head(mark.row.response, scheme.w)
        assert head == mark.draw.text
        assert len(mark.draw.words) == scheme.w
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
        assert all(len(set(options)) == scheme.k for options in mark.draw.candidates)


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
        ROWS, scheme, 16, secrets=Secrets(digest("seed"), CHAIN_ID, CONTRACT), payer=PAYER, scorer=HashScorer()
    )
    changed = {i for i, (before, after) in enumerate(zip(ROWS, planted.rows, strict=True)) if before != after}
    marked = {mark.row_index for mark in planted.marks}
    assert len(marked) == 16
    covered = {mark.row_index for mark in planted.coverage}
    assert bool(covered) == bool(scheme.coverage_k)
    assert not covered & marked
    assert changed <= marked | covered
    assert len(changed & marked) >= 15, "a draw may give back what was there, which is rare"


@every_scheme
def test_parameters_fit_the_terms(scheme):
    assert make_scheme(scheme.name) == scheme
    assert len(scheme.name.encode("ascii")) <= 32
    assert 1 <= scheme.w <= MAX_HEAD_WORDS
    assert scheme.max_tokens >= 4 * scheme.w
    assert scheme.p0 <= 2**-8


def test_an_unknown_scheme_is_refused_with_those_that_there_are():
    with pytest.raises(BadInput, match=r"unknown scheme 'trojan'; known: backdoor, canary"):
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
