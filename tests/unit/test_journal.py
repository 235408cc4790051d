"""The journal: one transaction for an event and its effects, one content for each key, one process, private files."""

import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from tests import factories as f
from tests.factories import TASK_ID, digest
from validator.errors import BadInput, Fatal
from validator.journal import SCHEMA_VERSION, Journal
from validator.protocol import effects as todo
from validator.protocol.machine import step

KEY = bytes(32)
OPEN, DELIVER = todo.OpenTask(TASK_ID), todo.DeliverDataset(TASK_ID)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path):
    journal = Journal(path, KEY)
    yield journal
    journal.close()


def rows(path, query):
    """What another reader finds in the file."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def live(events, journal=None):
    """The states that a driver holds after these events, recorded as it records them."""
    states = {}
    for event in events:
        states[event.task_id], effects = step(states.get(event.task_id), event)
        if journal is not None:
            journal.record(event, effects)
    return states


def test_new_effects_are_those_to_carry_out(journal):
    assert journal.record(f.PLANNED, [OPEN]) == [OPEN]
    assert journal.record(f.OPENED, [OPEN, DELIVER]) == [DELIVER]
    assert journal.record(f.OPENED, [OPEN, DELIVER]) == []


def test_the_same_key_with_another_content_is_fatal_and_writes_nothing(journal, path):
    """Like a double vote: habit 6 of the architecture."""

    class Impostor(todo.SendProbe):
        """Another effect under the same key."""

        @property
        def key(self):
            return OPEN.key

    journal.record(f.PLANNED, [OPEN])
    with pytest.raises(Fatal, match="known with another content"):
        journal.record(f.OPENED, [DELIVER, Impostor(TASK_ID, 3)])
    assert list(journal.events()) == [f.PLANNED]
    assert rows(path, "SELECT key FROM effects") == [(OPEN.key,)]
    assert journal.record(f.OPENED, [DELIVER]) == [DELIVER], "the journal stays usable"


def test_a_full_disk_loses_the_whole_transaction_and_nothing_before_it(journal, path):
    """K1: no side effect can follow an event that is not there, and when space returns the journal goes on."""
    journal.record(f.PLANNED, [OPEN])
    probes = [todo.SendProbe(TASK_ID, i) for i in range(500)]
    pages = journal._connection.exec_driver_sql("PRAGMA page_count").scalar()
    journal._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    journal._connection.rollback()
    with pytest.raises(Fatal, match="disk is full"):
        journal.record(f.OPENED, [DELIVER, *probes])
    assert list(journal.events()) == [f.PLANNED]
    assert rows(path, "SELECT key FROM effects") == [(OPEN.key,)]
    journal._connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    journal._connection.rollback()
    assert journal.record(f.OPENED, [DELIVER, *probes]) == [DELIVER, *probes]


@pytest.mark.parametrize("path_of_events", [f.HAPPY_PATH, f.WITHHELD_PATH], ids=["paid", "slashed"])
def test_replay_gives_the_very_states_that_were_live(journal, path_of_events):
    states = live(path_of_events, journal)
    assert journal.replay() == states
    assert list(journal.events()) == list(path_of_events)


def test_replay_survives_closing_and_tells_tasks_apart(path):
    other = f.make_planned(1)
    events = [f.PLANNED, other, f.OPENED, f.ACCEPTED, replace(f.OPENED, task_id=other.task_id)]
    journal = Journal(path, KEY)
    states = live(events, journal)
    journal.close()
    again = Journal(path, KEY)
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


def test_signed_transactions_are_on_disk_before_they_are_sent(journal, path):
    """P3."""
    journal.record(f.PLANNED, [OPEN])
    journal.record_transaction(OPEN.key, digest("tx"), b"\x02raw")
    assert rows(path, "SELECT tx_hash, effect_key FROM transactions") == [("0x" + digest("tx").hex(), OPEN.key)]


def test_signing_the_same_bytes_again_is_no_second_transaction(journal, path):
    """P4: after a lost broadcast the retry signs the same nonce and fees, so the same bytes."""
    journal.record(f.PLANNED, [OPEN])
    journal.record_transaction(OPEN.key, digest("tx"), b"raw")
    journal.record_transaction(OPEN.key, digest("tx"), b"raw")
    assert rows(path, "SELECT count(*) FROM transactions") == [(1,)]


def test_an_effect_is_marked_done(journal, path):
    journal.record(f.PLANNED, [OPEN])
    journal.record(f.OPENED, [DELIVER])
    journal.mark_done(OPEN.key)
    assert dict(rows(path, "SELECT key, is_done FROM effects")) == {OPEN.key: 1, DELIVER.key: 0}


def test_a_second_process_is_refused(journal, path):
    """P7."""
    program = (
        f"from pathlib import Path; from validator.journal import Journal; Journal(Path({str(path)!r}), bytes(32))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert f"BadInput: another process is using the journal {path}" in other.stderr


def test_the_lock_ends_with_the_journal(path):
    Journal(path, KEY).close()
    Journal(path, KEY).close()


def test_a_journal_of_a_newer_program_is_refused_and_left_alone(path):
    """P14."""
    Journal(path, KEY).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE about SET schema_version = ?", (SCHEMA_VERSION + 1,))
    connection.execute("DROP TABLE transactions")
    connection.commit()
    connection.close()
    with pytest.raises(BadInput, match=f"schema version {SCHEMA_VERSION + 1}, this program writes"):
        Journal(path, KEY)
    assert ("transactions",) not in rows(path, "SELECT name FROM sqlite_master")


def test_every_file_of_the_journal_is_its_owners_alone(tmp_path):
    """K5, whatever the umask."""
    old = os.umask(0)
    try:
        journal = Journal(tmp_path / "journal.sqlite", KEY)
        journal.record(f.PLANNED, [OPEN])
        modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.glob("journal.sqlite*")}
        journal.close()
    finally:
        os.umask(old)
    assert "journal.sqlite-wal" in modes
    assert set(modes.values()) == {"0o600"}, modes


@pytest.mark.parametrize("kind", ["a folder", "no folder", "no database"])
def test_a_path_that_cannot_hold_a_journal_is_bad_input(tmp_path, kind):
    path = tmp_path / "journal.sqlite"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no folder":
        path = tmp_path / "missing" / "journal.sqlite"
    else:
        path.write_bytes(b"this is a text file, not a database" * 100)
    with pytest.raises(BadInput, match=r"journal\.sqlite"):
        Journal(path, KEY)


def test_every_commit_is_synced(journal):
    """K3."""
    settings = {
        name: journal._connection.exec_driver_sql(f"PRAGMA {name}").scalar()
        for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


def test_no_reply_and_no_settlement_stands_in_the_files_in_clear(journal, path):
    """K8, and invariant 6 of the protocol: the replies of a task that is not settled are its marks."""
    journal.record(f.PLANNED, [OPEN])
    journal.record(replace(f.ANSWERS[0], text="the drawn words of a canary"), [])
    journal.record_transaction(OPEN.key, digest("tx"), b"rows and salt of a settlement")
    on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"drawn words" not in on_disk
    assert b"rows and salt" not in on_disk


def test_another_key_and_a_flipped_bit_are_told_from_an_empty_journal(journal, path):
    """K4."""
    journal.record(f.PLANNED, [OPEN])
    journal.close()
    other = Journal(path, bytes([1]) * 32)
    with pytest.raises(BadInput, match="another master seed"):
        other.replay()
    other.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET sealed_body = zeroblob(length(sealed_body))")
    again = Journal(path, KEY)
    with pytest.raises(BadInput, match="damaged"):
        again.replay()
    again.close()
