"""One transaction for an event and its effects, one content for each key, and everything comes back as it was."""

from dataclasses import replace

import pytest

from tests import factories as f
from tests.factories import TASK_ID
from tests.unit.journal.scenario import DELIVER, IDENTITY, KEY, LOCATE, OPEN, PROBES, sign
from validator.errors import BadInput, Fatal
from validator.journal import Cursor, Journal
from validator.protocol import effects as todo
from validator.protocol.machine import step
from validator.types import BlockNumber, TaskId


class Impostor(todo.SendProbe):
    """Another effect under the key of the first one."""

    @property
    def key(self):
        return OPEN.key


def live(events, journal):
    """The states that a driver holds after these events, recorded as it records them."""
    states = {}
    for event in events:
        states[event.task_id], effects = step(states.get(event.task_id), event)
        journal.record(event, effects)
    return states


def test_new_effects_are_those_to_carry_out(journal):
    assert journal.record(f.PLANNED, [OPEN]) == [OPEN]
    assert journal.record(f.OPENED, [OPEN, DELIVER]) == [DELIVER]
    assert journal.record(f.OPENED, [OPEN, DELIVER]) == []


def test_the_same_key_with_another_content_writes_nothing_and_stops_the_journal_for_good(journal, place, execute):
    """Like a double vote: habit 6 of the architecture, and P10."""
    journal.record(f.PLANNED, [OPEN])
    with pytest.raises(Fatal, match="OpenTask is known with another content"):
        journal.record(f.OPENED, [DELIVER, Impostor(TASK_ID, 3)])
    assert list(journal.events()) == [f.PLANNED]
    assert execute("SELECT key FROM effects") == [(OPEN.key,)]
    with pytest.raises(Fatal, match=r"stopped: the effect .* is known with another content"):
        journal.record(f.OPENED, [DELIVER])
    journal.close()
    with pytest.raises(BadInput, match=r"is stopped: the effect .* is known with another content"):
        Journal(place, KEY, IDENTITY)


@pytest.mark.parametrize("path_of_events", [f.HAPPY_PATH, f.WITHHELD_PATH], ids=["paid", "slashed"])
def test_replay_gives_the_very_states_that_were_live(journal, path_of_events):
    states = live(path_of_events, journal)
    assert journal.replay() == states
    assert list(journal.events()) == list(path_of_events)


def test_replay_survives_closing_and_tells_tasks_apart(place):
    other = f.make_planned(1)
    events = [f.PLANNED, other, f.OPENED, f.ACCEPTED, replace(f.OPENED, task_id=other.task_id)]
    journal = Journal(place, KEY, IDENTITY)
    states = live(events, journal)
    journal.close()
    again = Journal(place, KEY, IDENTITY)
    assert again.replay() == states
    assert again.record(f.OPENED, [DELIVER]) == [], "what was asked for before is not asked for again"
    again.close()


def test_any_text_and_any_bytes_come_back(journal):
    events = [
        f.PLANNED,
        f.OPENED,
        f.ACCEPTED,
        f.SUBMITTED,
        f.DELIVERED,
        f.LOCATED,
        replace(f.ANSWERS[0], text='\x00\n"\\ \u2028 日本 😀'),
        replace(f.SIGNED, signature=bytes(range(256))),
        replace(f.FAULTED, reason="'; DROP TABLE events; --"),
    ]
    for event in events:
        journal.record(event, [])
    assert list(journal.events()) == events


def test_what_is_not_done_is_left_to_do_after_a_restart_in_the_order_of_asking(place):
    """P1."""
    journal = Journal(place, KEY, IDENTITY)
    settle = todo.Settle(TASK_ID, "submitted")
    journal.record(f.PLANNED, [OPEN])
    journal.record(f.LOCATED, [*PROBES, LOCATE])
    journal.record(f.SIGNED, [settle, DELIVER])
    for effect in (PROBES[1], OPEN, OPEN):
        journal.mark_done(effect.key)
    journal.close()
    again = Journal(place, KEY, IDENTITY)
    assert again.unfinished_effects() == [PROBES[0], *PROBES[2:], LOCATE, settle, DELIVER]
    again.close()


def test_a_journal_is_new_until_something_is_recorded_however_often_it_was_opened(place):
    """P9: a start that is refused because history is lost leaves an empty journal behind; the next is refused too."""
    for _ in range(2):
        journal = Journal(place, KEY, IDENTITY)
        assert journal.is_new
        journal.close()
    journal = Journal(place, KEY, IDENTITY)
    journal.record(f.PLANNED, [OPEN])
    assert not journal.is_new
    journal.close()
    again = Journal(place, KEY, IDENTITY)
    assert not again.is_new
    again.close()


def test_the_story_of_a_task_is_its_events_with_what_was_done_about_them(journal):
    other = f.make_planned(1)
    raws = [sign(0), sign(0, fee_wei=3 * 10**9)]
    journal.record(f.PLANNED, [OPEN])
    journal.record(other, [todo.OpenTask(other.task_id)])
    for raw in raws:
        journal.transactions.record_attempt(OPEN.key, raw)
    journal.record(f.OPENED, [DELIVER, OPEN])
    journal.mark_done(OPEN.key)
    planned, opened = journal.story(TASK_ID)
    assert (planned.sequence, opened.sequence) == (1, 3)
    assert (planned.event, opened.event) == (f.PLANNED, f.OPENED)
    (opening,) = planned.effects
    assert opening.effect == OPEN
    assert [attempt.raw for attempt in opening.attempts] == raws
    assert [(effect.effect, effect.done_at_s, effect.attempts) for effect in opened.effects] == [(DELIVER, None, ())]
    assert opening.done_at_s is not None
    assert planned.recorded_at_s <= opened.recorded_at_s <= opening.done_at_s
    assert journal.story(TaskId(bytes(32))) == ()


def test_no_secret_stands_in_the_files_in_clear(journal, read_files):
    """K8, and invariant 6 of the protocol: the replies of a task that is not settled are its marks."""
    settlement = sign(0, data=b"rows and salt of a settlement")
    journal.record(replace(f.PLANNED, order_signature=b"the payer's signature"), [OPEN])
    journal.record(replace(f.ANSWERS[0], text="the drawn words of a canary"), [])
    journal.transactions.record_attempt(OPEN.key, settlement)
    journal.stop("a reply with drawn words in it")
    on_disk = read_files()
    assert TASK_ID.hex().encode() in on_disk, "these are the journal's files"
    for secret in (b"drawn words", b"rows and salt", b"the payer's signature", settlement, KEY):
        assert secret not in on_disk
        assert secret.hex().encode() not in on_disk


def test_what_an_effect_brought_and_that_it_is_done_are_one_write(journal, path):
    """P1: no crash keeps the one and loses the other."""
    journal.record(f.PLANNED, [OPEN])
    journal.record(f.OPENED, [DELIVER], done=OPEN.key)
    assert journal.unfinished_effects() == [DELIVER]
    with pytest.raises(ValueError, match="not enough values"):
        journal.record(f.DELIVERED, [], done=LOCATE.key)
    assert list(journal.events()) == [f.PLANNED, f.OPENED]


def test_the_cursor_moves_and_is_kept(journal, place):
    assert journal.cursor() is None
    for number in (3, 9, 8):
        journal.move_cursor(Cursor(BlockNumber(number), f.digest(f"block {number}")))
    journal.close()
    journal = Journal(place, KEY, IDENTITY)
    assert journal.cursor() == Cursor(BlockNumber(8), f.digest("block 8"))
    journal.close()


def test_requests_are_kept_in_order_and_can_be_taken_back(journal, place):
    first, second = f.digest("first"), f.digest("second")
    journal.add_request(first, b"a dataset, please")
    journal.add_request(second, b"another")
    journal.add_request(first, b"a dataset, please")
    journal.cancel_request(second)
    journal.cancel_request(second)
    journal.close()
    journal = Journal(place, KEY, IDENTITY)
    kept = [(row.request_id, row.body, row.cancelled_at_s is not None) for row in journal.requests()]
    journal.close()
    assert kept == [(first, b"a dataset, please", False), (second, b"another", True)]


def test_a_request_under_a_known_id_with_another_content_stops_the_journal(journal):
    journal.add_request(f.digest("first"), b"a dataset, please")
    with pytest.raises(Fatal, match="is known with another content"):
        journal.add_request(f.digest("first"), b"two datasets, please")
    assert journal.stop_reason is not None


def test_an_unknown_request_cannot_be_taken_back(journal):
    with pytest.raises(BadInput, match="there is no request"):
        journal.cancel_request(f.digest("first"))
