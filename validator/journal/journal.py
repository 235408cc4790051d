"""Events and their effects: what happened, and what is to be done, written before it is done.

Rules kept: an event and its effects are one transaction, synced before anything follows from it; an effect has a UNIQUE
key, so the same one is never carried out twice.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validator.errors import BadInput
from validator.journal.codec import SignedTransaction, decode_effect, decode_event, encode_effect, encode_event
from validator.journal.store import Contradiction, Row, Store
from validator.journal.tables import Cursor, Identity, attempts, cursors, effects, events, requests
from validator.journal.transactions import TransactionLog, read_attempts
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.machine import step
from validator.protocol.state import TaskState
from validator.types import BlockNumber, EffectKey, Hash32, TaskId

PIECE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class EffectStory:
    """One effect, when it was done (Unix seconds, None if it is not), and what was signed for it, oldest first."""

    effect: Effect
    done_at_s: float | None
    attempts: tuple[SignedTransaction, ...]


@dataclass(frozen=True, slots=True)
class EventStory:
    """One event, when it was recorded (Unix seconds, this machine's clock), and the effects that it first asked for."""

    sequence: int
    recorded_at_s: float
    event: Event
    effects: tuple[EffectStory, ...]


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as it was accepted, and when it was taken back, if it was (Unix seconds, this machine's clock)."""

    request_id: Hash32
    accepted_at_s: float
    cancelled_at_s: float | None
    body: bytes


class Journal:
    """One validator's journal, created if need be; BadInput if it cannot be used, with the reason in one line.

    `place` is the path of an SQLite file, or the `postgresql://` URL of a database that holds nothing else. `key` (32
    bytes) seals what the rows say. A journal that is damaged, another validator's, a newer program's, in use by another
    process or under a protective stop is not opened; `despite_stop` opens a stopped one, to be read and cleared.
    """

    def __init__(self, place: Path | str, key: bytes, identity: Identity, *, despite_stop: bool = False) -> None:
        self._store = Store(place, key, identity, despite_stop=despite_stop)
        self.transactions = TransactionLog(self._store)

    def close(self) -> None:
        self._store.close()

    @property
    def is_new(self) -> bool:
        """Nothing was ever recorded: with a key that the chain has seen at work, history is lost (P9)."""
        with self._store.transaction():
            return self._store.next(events.c.sequence) == 1

    @property
    def stop_reason(self) -> str | None:
        """Why nothing may be written any more, or None."""
        return self._store.stop_reason

    def stop(self, reason: str) -> None:
        """Refuse to write anything, and to be opened, until `clear_stop`: restarts change nothing (P10)."""
        self._store.stop(reason)

    def clear_stop(self) -> None:
        """Only by an operator's explicit act, once the reason is understood."""
        self._store.clear_stop()

    def record(self, event: Event, asked_for: Iterable[Effect], *, done: EffectKey | None = None) -> list[Effect]:
        """Write an event with its effects; those that were not yet known, which are the ones to carry out.

        `done` is the effect that the event came of: in the same transaction it is marked as done, so that no crash can
        lose the one and keep the other.
        The same key with the same content is already done. With another content it is like a double vote: Fatal,
        nothing is written, and the journal stops.
        """
        new = []
        with self._store.writing():
            sequence = self._store.next(events.c.sequence)
            self._store.insert(
                events,
                encode_event(event),
                sequence=sequence,
                task_id=_hex(event.task_id),
                kind=type(event).__name__,
                recorded_at_s=time.time(),
            )
            for effect in asked_for:
                body = encode_effect(effect)
                known = self._store.row(effects, effects.c.key == effect.key)
                if known is None:
                    self._store.insert(
                        effects,
                        body,
                        sequence=self._store.next(effects.c.sequence),
                        key=effect.key,
                        caused_by=sequence,
                        done_at_s=None,
                    )
                    new.append(effect)
                elif known.body != body:
                    raise Contradiction(f"the effect {effect.key} is known with another content")
            if done is not None:
                self._mark_done(done)
        return new

    def mark_done(self, effect_key: EffectKey) -> None:
        """For an effect of which no event came."""
        with self._store.writing():
            self._mark_done(effect_key)

    def _mark_done(self, effect_key: EffectKey) -> None:
        (row,) = self._store.rows(effects, effects.c.key == effect_key)
        if row.clear["done_at_s"] is None:
            self._store.update(effects, row, done_at_s=time.time())

    def cursor(self) -> Cursor | None:
        """How far the chain has been read; None at the very beginning."""
        with self._store.transaction():
            row = self._store.row(cursors)
        if row is None:
            return None
        block_hash = Hash32(bytes.fromhex(row.clear["block_hash"][2:]))
        return Cursor(BlockNumber(row.clear["block_number"]), block_hash)

    def move_cursor(self, cursor: Cursor) -> None:
        """Everything up to this block is recorded."""
        place: dict[str, Any] = {"block_number": cursor.block_number, "block_hash": _hex(cursor.block_hash)}
        with self._store.writing():
            row = self._store.row(cursors)
            if row is None:
                self._store.insert(cursors, id=1, **place)
            else:
                self._store.update(cursors, row, **place)

    def add_request(self, request_id: Hash32, body: bytes) -> None:
        """A customer's wish, once it is checked. The same again changes nothing; another body under its id: Fatal."""
        with self._store.writing():
            known = self._store.row(requests, requests.c.request_id == _hex(request_id))
            if known is None:
                self._store.insert(
                    requests,
                    body,
                    sequence=self._store.next(requests.c.sequence),
                    request_id=_hex(request_id),
                    accepted_at_s=time.time(),
                    cancelled_at_s=None,
                )
            elif known.body != body:
                raise Contradiction(f"the request {_hex(request_id)} is known with another content")

    def cancel_request(self, request_id: Hash32) -> None:
        """No further task is planned for it; BadInput if it is unknown."""
        with self._store.writing():
            row = self._store.row(requests, requests.c.request_id == _hex(request_id))
            if row is None:
                raise BadInput(f"there is no request {_hex(request_id)}")
            if row.clear["cancelled_at_s"] is None:
                self._store.update(requests, row, cancelled_at_s=time.time())

    def requests(self) -> list[RequestRow]:
        """Every request ever accepted, in order."""
        with self._store.transaction():
            rows = self._store.rows(requests)
        return [
            RequestRow(
                Hash32(bytes.fromhex(row.clear["request_id"][2:])),
                row.clear["accepted_at_s"],
                row.clear["cancelled_at_s"],
                row.body,
            )
            for row in rows
        ]

    def unfinished_effects(self) -> list[Effect]:
        """What was asked for and not marked done, in the order of asking: what a restart has to look at again (P1)."""
        with self._store.transaction():
            return [decode_effect(row.body) for row in self._store.rows(effects, effects.c.done_at_s.is_(None))]

    def events(self) -> Iterator[Event]:
        """Every event ever recorded, in order, read piece by piece."""
        last = 0
        while True:
            with self._store.transaction():
                rows = self._store.rows(events, events.c.sequence > last, at_most=PIECE_ROWS)
            if not rows:
                return
            for row in rows:
                yield decode_event(row.clear["kind"], row.body)
            last = rows[-1].clear["sequence"]

    def replay(self) -> dict[TaskId, TaskState]:
        """Every task as the journal tells it."""
        states: dict[TaskId, TaskState] = {}
        for event in self.events():
            states[event.task_id] = step(states.get(event.task_id), event)[0]
        return states

    def story(self, task_id: TaskId) -> tuple[EventStory, ...]:
        """What happened to one task and what was done about it, in order; empty if it is unknown."""
        with self._store.transaction():
            rows = self._store.rows(events, events.c.task_id == _hex(task_id))
            return tuple(
                EventStory(
                    row.clear["sequence"],
                    row.clear["recorded_at_s"],
                    decode_event(row.clear["kind"], row.body),
                    self._effects_of(row),
                )
                for row in rows
            )

    def _effects_of(self, event: Row) -> tuple[EffectStory, ...]:
        return tuple(
            EffectStory(
                decode_effect(row.body),
                row.clear["done_at_s"],
                read_attempts(self._store, attempts.c.effect_key == row.clear["key"]),
            )
            for row in self._store.rows(effects, effects.c.caused_by == event.clear["sequence"])
        )


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
