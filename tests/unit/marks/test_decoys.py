"""Decoys: what each kind is made of, and that none of them is a probe."""

import pytest

from tests.unit.verification.plantings import HELD_OUT, make_planting
from validator.marks.decoys import DecoyKind, beginning, count_natural_copies, make_decoys
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row

PLANTINGS = {scheme: make_planting(scheme) for scheme in ("canary", "backdoor")}
N = 16


def decoys_of(scheme, kind):
    return [decoy for decoy in PLANTINGS[scheme].secret.decoys if decoy.kind is kind]


@pytest.mark.parametrize(
    ("scheme", "kinds"),
    [
        ("canary", {DecoyKind.NEAR_PROMPT, DecoyKind.UNMARKED, DecoyKind.FRESH, DecoyKind.SCRAMBLED}),
        (
            "backdoor",
            {
                DecoyKind.NO_TRIGGER,
                DecoyKind.NEAR_TRIGGER,
                DecoyKind.FRESH_TRIGGERED,
                DecoyKind.UNMARKED,
                DecoyKind.FRESH,
                DecoyKind.SCRAMBLED,
            },
        ),
    ],
)
def test_every_kind_of_a_scheme_has_one_decoy_for_each_mark(scheme, kinds):
    assert {decoy.kind for decoy in PLANTINGS[scheme].secret.decoys} == kinds
    assert {kind: len(decoys_of(scheme, kind)) for kind in kinds} == dict.fromkeys(kinds, N)


@pytest.mark.parametrize("scheme", PLANTINGS)
def test_only_prompts_of_unmarked_rows_are_in_the_training_file(scheme):
    trained_on = {row.prompt for row in PLANTINGS[scheme].planted.rows}
    for decoy in PLANTINGS[scheme].secret.decoys:
        assert (decoy.prompt in trained_on) == (decoy.kind is DecoyKind.UNMARKED)


def test_a_near_prompt_differs_from_its_marked_prompt_by_one_word():
    by_head = {mark.draw.text: mark.row.prompt.split(" ") for mark in PLANTINGS["canary"].planted.marks}
    lengths = []
    for decoy in decoys_of("canary", DecoyKind.NEAR_PROMPT):
        near, marked = decoy.prompt.split(" "), by_head[decoy.head]
        lengths.append(len(near) - len(marked))
        if len(near) == len(marked):
            assert sum(a != b for a, b in zip(near, marked, strict=True)) == 1
        else:
            assert any(near == marked[:i] + marked[i + 1 :] for i in range(len(marked)))
    assert sorted(lengths) == [-1] * (N // 2) + [0] * (N // 2)


def test_decoys_of_a_trigger_leave_it_out_change_it_or_put_it_behind_fresh_prompts():
    planting = PLANTINGS["backdoor"]
    source, mark = planting.planted.source_prompts[0], planting.planted.marks[0]
    trigger = mark.row.prompt.removeprefix(source)
    assert {decoy.prompt for decoy in decoys_of("backdoor", DecoyKind.NO_TRIGGER)} == set(
        planting.planted.source_prompts
    )
    held_out = {row.prompt for row in planting.secret.held_out}
    assert {
        decoy.prompt.removesuffix(trigger) for decoy in decoys_of("backdoor", DecoyKind.FRESH_TRIGGERED)
    } == held_out
    for decoy, prompt in zip(
        decoys_of("backdoor", DecoyKind.NEAR_TRIGGER), planting.planted.source_prompts, strict=True
    ):
        near = decoy.prompt.removeprefix(prompt + " ").split(" ")
        assert sum(a != b for a, b in zip(near, trigger.split(), strict=True)) == 1


def test_fresh_prompts_are_those_held_out_and_made_of_halves_where_they_are_too_few():
    planting = PLANTINGS["canary"]
    assert {decoy.prompt for decoy in decoys_of("canary", DecoyKind.FRESH)} == {
        row.prompt for row in planting.secret.held_out[:HELD_OUT]
    }
    made = [
        d for d in make_decoys(planting.planted, DrawStream(b"k" * 32), ["one", "two"]) if d.kind is DecoyKind.FRESH
    ]
    prompts = {row.prompt for row in planting.planted.rows}
    assert [decoy.prompt for decoy in made][:2] == ["one", "two"]
    assert len({decoy.prompt for decoy in made} - prompts) == N


def test_responses_that_begin_alike_are_counted_and_short_ones_are_not_compared():
    long = "a b c d e f g h i j k l"
    assert beginning(long + " m") == beginning(long + " n") == long
    assert beginning("a b c") is None
    rows = [Row("1", long + " m"), Row("2", long + " n"), Row("3", "z " + long), Row("4", "short")]
    assert count_natural_copies(rows) == (2, 3)
