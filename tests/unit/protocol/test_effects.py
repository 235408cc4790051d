"""Effects stand in the journal in clear and are keyed for ever, so they name no secret and never share a key (I5)."""

from dataclasses import fields
from itertools import combinations
from typing import get_args

from tests.factories import HAPPY_PATH, TASK_ID, WITHHELD_PATH, digest, make_planned
from validator.protocol import effects as todo
from validator.protocol.machine import step
from validator.protocol.state import Phase


def make_all(task_id) -> list[todo.Effect]:
    settling = (Phase.SUBMITTED, Phase.ANSWERED)
    varying = {todo.SendProbe: range(16), todo.Poke: Phase, todo.WriteBundle: settling, todo.Settle: settling}
    return [
        kind(task_id, *([] if value is None else [value]))
        for kind in get_args(todo.Effect)
        for value in varying.get(kind, [None])
    ]


def test_effects_name_no_secret():
    """A task, a counter, a public phase: no prompt, row, salt, proof, reply, signature or key."""
    named = {field.name for kind in get_args(todo.Effect) for field in fields(kind)}
    assert named == {"task_id", "ordinal", "phase"}


def test_no_two_effects_share_a_key():
    keys = [effect.key for task in (TASK_ID, digest("another task")) for effect in make_all(task)]
    assert all(a != b for a, b in combinations(keys, 2))
    assert all(len(key) <= 120 for key in keys), "the journal's column holds 120 characters"


def test_the_same_effect_always_has_the_same_key():
    for path in (HAPPY_PATH, WITHHELD_PATH):
        keys = []
        for _ in range(2):
            state, asked = None, []
            for event in path:
                state, effects = step(state, event)
                asked += [effect.key for effect in effects]
            keys.append(asked)
        assert keys[0] == keys[1]
        assert len(keys[0]) == len(set(keys[0]))


def test_tasks_with_equal_terms_and_different_nonces_are_different_tasks():
    assert make_planned(0).task_id != make_planned(1).task_id
