"""Whatever fails, whenever: what was acknowledged is there, what was under way is whole or absent, and life goes on."""

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import require_or_skip
from tests.unit.journal.scenario import CALLS, IDENTITY, KEY, digest
from validator.journal import Journal

VERSION_1 = Path(__file__).with_name("version_1.sql")


@dataclass
class Life:
    """What one child told: see `faulty.py`."""

    exit: int | None = None
    acked: int | None = None
    failed: int | None = None
    error: str | None = None
    again: str | None = None
    seen: list[str] = field(default_factory=list)

    def hear(self, told: dict[str, Any]) -> None:
        for name, value in told.items():
            if name == "seen":
                self.seen.append(value)
            else:
                setattr(self, name, value)

    @property
    def has_met_a_fault(self) -> bool:
        return self.exit != 0 or self.error is not None


def lives(fault: str, place: Path | str, *options: str, every: int = 1) -> Iterator[Life]:
    """One for every `every`th place of the fault, until nothing is met; after each, the journal is the caller's."""
    command = [sys.executable, "-m", "tests.unit.journal.faulty", fault, str(place), *options]
    if fault == "full":
        command = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-Ur"]), *command]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n in itertools.count(1, every):
            life = Life()
            process.stdin.write(f"{n}\n")
            while life.exit is None and (line := process.stdout.readline()):
                life.hear(json.loads(line))
            yield life
            if not life.has_met_a_fault:
                break
        process.stdin.close()


@pytest.fixture(scope="module")
def told_after(tmp_path_factory):
    """What a journal tells before the first call of the scenario, and after each."""
    journal = Journal(tmp_path_factory.mktemp("healthy") / "journal.sqlite", KEY, IDENTITY)
    digests = [digest(journal)]
    for call in CALLS:
        call(journal)
        digests.append(digest(journal))
    journal.close()
    assert len(set(digests)) == len(digests), "every call of the scenario leaves a trace"
    return digests


def renew(path):
    """Put nothing where the journal was."""
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def go_on(place, life, told_after):
    """Open what a life has left, see that at most the call that was under way is there too, and make the others."""
    journal = Journal(place, KEY, IDENTITY)
    done = told_after.index(digest(journal))
    assert done - (life.acked or 0) in (0, 1), "an acknowledged call is there, and none that was not made"
    for call in CALLS[done:]:
        call(journal)
    assert digest(journal) == told_after[-1], "a restart ends where an undisturbed life does"
    journal.close()
    return done


def test_killed_at_any_statement_a_restart_ends_where_an_undisturbed_life_does(path, told_after):
    """P1, P3, P4."""
    ends = set()
    for life in lives("kill", path):
        ends.add(go_on(path, life, told_after))
        renew(path)
    assert ends == set(range(len(told_after)))


def test_killed_at_many_statements_a_restart_on_a_server_ends_there_too(url, server, told_after):
    """P1, P3, P4."""
    ends = set()
    for life in lives("kill", url, every=7):
        server.wait_until_unlocked()
        ends.add(go_on(url, life, told_after))
        server.empty_database()
    assert len(ends) > len(CALLS) / 2


def test_a_full_disk_at_any_page_loses_one_transaction_whole_and_with_space_the_journal_goes_on(path, told_after):
    """K1."""
    failed = set()
    for life in lives("full", path):
        if life == Life(exit=life.exit):
            require_or_skip("no file system can be mounted here")
        assert (life.exit, life.acked, life.seen[-1]) == (0, len(CALLS), told_after[-1])
        if life.failed:
            assert "the journal cannot be written: database or disk is full" in life.error
            assert life.seen[0] == told_after[life.failed - 1], "nothing of the call that failed"
            failed.add(life.failed)
    assert len(failed) > len(CALLS) / 2, failed


@pytest.mark.parametrize("fault", ["file size", "sync"])
def test_a_failing_disk_ends_the_journal_and_what_it_had_acknowledged_is_there(path, told_after, fault):
    """K2: nothing is written after a failure of unknown outcome, even if the disk works again."""
    failed = set()
    for life in lives(fault, path):
        assert life.exit == 0
        if life.failed:
            assert "the journal cannot be written: disk I/O error" in life.error
            assert life.again == life.error
            failed.add(life.failed)
        go_on(path, life, told_after)
        renew(path)
    assert len(failed) > len(CALLS) / 2, failed


def test_killed_at_any_statement_of_a_migration_the_old_journal_is_whole_or_the_new_one_is(path):
    """P14."""
    old = path.with_name("old.sqlite")
    connection = sqlite3.connect(old)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    versions, told = [], set()
    shutil.copyfile(old, path)
    path.chmod(0o600)
    for life in lives("kill", path, "--only-open", every=3):
        assert life.exit == (-signal.SIGKILL if life.has_met_a_fault else 0)
        connection = sqlite3.connect(path)
        versions += connection.execute("SELECT schema_version FROM about").fetchone()
        connection.close()
        journal = Journal(path, KEY, IDENTITY)
        told.add(digest(journal))
        journal.close()
        shutil.copyfile(old, path)
    assert len(told) == 1
    assert versions == sorted(versions), "first old ones only, then, behind the commit, new ones only"
    assert versions.count(1) > 30
