"""How many tasks a second the rules get through, and the journal: a paid task's events, from planned to closed.

The journal is the product's own, on a file of the disk that holds temporary files, synced at every commit. It is
compared with the least that SQLite can do there: one row of the same size a commit, with the same pragmas.
"""

import itertools
import sqlite3
import tempfile
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.repeats import REPEATS, measure_rates
from tests import factories as f
from validator.journal import Identity, Journal
from validator.journal.codec import encode_event
from validator.protocol import effects as todo
from validator.protocol import events as facts
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.machine import step

PURE_TASKS, JOURNAL_TASKS = 500, 20
CAUSES: dict[type[Event], type[Effect]] = {
    facts.DatasetDelivered: todo.DeliverDataset,
    facts.ModelLocated: todo.LocateModel,
    facts.ProbeAnswered: todo.SendProbe,
    facts.TranscriptSigned: todo.RequestTranscript,
    facts.BundleWritten: todo.WriteBundle,
}
"""Which effect an event comes of; it is marked as done in the same commit. Others have a commit of their own."""
COMMITS = len(f.HAPPY_PATH) + 3
"""Of a task: its events, and the effects of which no event comes."""


def measure_rules(tasks: int = PURE_TASKS, repeats: int = REPEATS) -> dict[str, Any]:
    """Tasks a second of `step` alone."""

    def run() -> int:
        for _ in range(tasks):
            state = None
            for event in f.HAPPY_PATH:
                state, _effects = step(state, event)
        return tasks

    return measure_rates({"tasks": run}, repeats) | {"events": len(f.HAPPY_PATH), "commits": COMMITS}


def measure_journal(tasks: int = JOURNAL_TASKS, repeats: int = REPEATS) -> dict[str, Any]:
    """Tasks a second of `step` with its journal, and so many commits of bare SQLite."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as scratch:
        journal = Journal(Path(scratch) / "journal.sqlite", bytes(32), Identity(f.CHAIN_ID, f.CONTRACT, f.VALIDATOR))
        bare = _open_bare(Path(scratch) / "bare.sqlite")
        bodies = [encode_event(event) for event in f.HAPPY_PATH]

        def record() -> int:
            for _ in range(tasks):
                record_task(journal, make_events(next(numbers)))
            return tasks

        def commit() -> int:
            for body in itertools.islice(itertools.cycle(bodies), COMMITS * tasks):
                bare.execute("BEGIN")
                bare.execute("INSERT INTO events (body) VALUES (?)", (body,))
                bare.execute("COMMIT")
            return tasks

        try:
            return measure_rates({"tasks": record, "bare": commit}, repeats)
        finally:
            journal.close()
            bare.close()


def make_events(number: int) -> list[Event]:
    """The life of a task of its own."""
    planned = f.make_planned(number)
    return [planned, *(replace(event, task_id=planned.task_id) for event in f.HAPPY_PATH[1:])]


def record_task(journal: Journal, events: Sequence[Event]) -> int:
    """As the driver does: an event, what it asks for and what it is the end of are one commit; how many there were."""
    state, waiting = None, defaultdict[type[Effect], deque[Effect]](deque)
    for event in events:
        state, asked_for = step(state, event)
        cause = CAUSES.get(type(event))
        new = journal.record(event, asked_for, done=waiting[cause].popleft().key if cause else None)
        for effect in new:
            waiting[type(effect)].append(effect)
    rest = [*itertools.chain(*waiting.values())]
    for effect in rest:
        journal.mark_done(effect.key)
    return len(events) + len(rest)


def _open_bare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, body BLOB)")
    return connection
