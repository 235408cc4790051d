"""Events and their effects: what happened, and what is to be done, written before it is done.

Rules kept: an event and its effects are one transaction, synced before anything follows from it; an effect has a UNIQUE
key, so the same one is never carried out twice.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from validator.journal.codec import SignedTransaction, decode_effect, decode_event, encode_effect, encode_event
from validator.journal.store import Contradiction, Row, Store
from validator.journal.tables import Identity, attempts, effects, events
from validator.journal.transactions import TransactionLog, read_attempts
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.machine import step
from validator.protocol.state import TaskState
from validator.types import EffectKey, TaskId


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

    def record(self, event: Event, asked_for: Iterable[Effect]) -> list[Effect]:
        """Write an event with its effects; those that were not yet known, which are the ones to carry out.

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
        return new

    def mark_done(self, effect_key: EffectKey) -> None:
        with self._store.writing():
            (row,) = self._store.rows(effects, effects.c.key == effect_key)
            if row.clear["done_at_s"] is None:
                self._store.update(effects, row, done_at_s=time.time())

    def unfinished_effects(self) -> list[Effect]:
        """What was asked for and not marked done, in the order of asking: what a restart has to look at again (P1)."""
        with self._store.transaction():
            return [decode_effect(row.body) for row in self._store.rows(effects, effects.c.done_at_s.is_(None))]

    def events(self) -> Iterator[Event]:
        """Every event ever recorded, in order."""
        with self._store.transaction():
            rows = self._store.rows(events)
        for row in rows:
            yield decode_event(row.clear["kind"], row.body)

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
