"""P14: journals of older programs become ours, whole or not at all. One of every version is kept beside this file."""

import sqlite3
from pathlib import Path

import pytest

from tests import factories as f
from tests.unit.journal.scenario import IDENTITY, KEY
from validator.errors import BadInput
from validator.journal import Cursor, Identity, Journal
from validator.protocol import effects as todo
from validator.protocol import events as facts
from validator.protocol.state import Phase
from validator.types import BlockNumber


def execute(path, statement):
    """Another reader, or meddler."""
    connection = sqlite3.connect(path)
    rows = connection.execute(statement).fetchall()
    connection.commit()
    connection.close()
    return rows


def restore(path, version):
    path.touch(mode=0o600)
    connection = sqlite3.connect(path)
    connection.executescript(Path(__file__).with_name(f"version_{version}.sql").read_text())
    connection.close()
    return path


@pytest.fixture
def version_1(path):
    return restore(path, 1)


WITHOUT_BUNDLES = [type(event) for event in f.HAPPY_PATH if event != f.BUNDLED]


def test_a_journal_of_version_1_tells_the_same_under_ours(version_1):
    """One task that was paid, and one that was being opened."""
    journal = Journal(version_1, KEY, IDENTITY)
    events = list(journal.events())
    paid, opening = events[0], events[-1]
    assert [type(event) for event in events] == [*WITHOUT_BUNDLES, facts.TaskPlanned]
    assert [event.text for event in events if isinstance(event, facts.ProbeAnswered)] == [
        f"a reply number {i} — ☂" for i in range(16)
    ]
    assert paid.miner_tls_key_hash == bytes(32)
    states = journal.replay()
    assert {task_id: (state.phase, state.outcome) for task_id, state in states.items()} == {
        paid.task_id: (Phase.CLOSED, "paid"),
        opening.task_id: (Phase.PLANNED, None),
    }
    (unfinished,) = journal.unfinished_effects()
    assert unfinished == todo.OpenTask(opening.task_id)
    assert len([effect for event in journal.story(paid.task_id) for effect in event.effects]) == 21
    attempts = [journal.transactions.attempts_of(key) for key in (todo.OpenTask(paid.task_id).key, unfinished.key)]
    assert [[attempt.nonce for attempt in of_one] for of_one in attempts] == [[0], [2]]
    assert journal.transactions.reserve_nonce(unfinished.key, 0) == 3
    assert not journal.is_new
    journal.close()
    tables = execute(version_1, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    names = "about", "acceptances", "attempts", "cursors", "effects", "events", "nonces", "requests"
    assert tables == [(name,) for name in names]
    Journal(version_1, KEY, IDENTITY).close()


def test_a_journal_of_version_2_goes_on_under_ours(path):
    """The same two tasks; nonces, what is left to do, and an operator's stop are kept."""
    journal = Journal(restore(path, 2), KEY, IDENTITY)
    events = list(journal.events())
    paid, opening = events[0], events[-1]
    assert [type(event) for event in events] == [*WITHOUT_BUNDLES, facts.TaskPlanned]
    assert {state.outcome for state in journal.replay().values()} == {"paid", None}
    assert journal.unfinished_effects() == [todo.OpenTask(opening.task_id)]
    (outgoing,) = journal.transactions.unfinished()
    assert (outgoing.nonce, outgoing.effect_key) == (1, todo.OpenTask(opening.task_id).key)
    assert journal.transactions.live(todo.OpenTask(paid.task_id).key).nonce == 0
    assert (journal.cursor(), journal.requests()) == (None, [])
    journal.move_cursor(Cursor(BlockNumber(7), f.digest("block")))
    journal.stop("a foreign transaction")
    journal.close()
    stopped = Journal(path, KEY, IDENTITY, despite_stop=True)
    assert (stopped.stop_reason, stopped.cursor().block_number) == ("a foreign transaction", 7)
    stopped.close()


def test_what_stood_in_clear_is_gone_from_the_file(version_1):
    """K8: version 1 kept effects in clear."""
    body = b'{"kind": "OpenTask", "task_id": "'
    assert body in version_1.read_bytes()
    Journal(version_1, KEY, IDENTITY).close()
    assert body not in version_1.read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        Identity(1, f.CONTRACT, f.VALIDATOR),
        Identity(f.CHAIN_ID, f.MINER, f.VALIDATOR),
        Identity(f.CHAIN_ID, f.CONTRACT, f.MINER),
    ],
    ids=["chain", "contract", "validator"],
)
def test_another_validators_journal_is_refused_and_left_alone(version_1, other):
    """P9: version 1 did not say whose it was, but the ids of its tasks do."""
    with pytest.raises(BadInput, match="holds tasks of another than validator"):
        Journal(version_1, KEY, other)
    Journal(version_1, KEY, IDENTITY).close()


def test_another_master_seed_is_refused_and_leaves_it_alone(version_1):
    with pytest.raises(BadInput, match="another master seed"):
        Journal(version_1, bytes([1]) * 32, IDENTITY)
    Journal(version_1, KEY, IDENTITY).close()


def test_a_version_that_never_was_is_refused(version_1):
    execute(version_1, "UPDATE about SET schema_version = 0")
    with pytest.raises(BadInput, match="schema version 0, which no program has written"):
        Journal(version_1, KEY, IDENTITY)
