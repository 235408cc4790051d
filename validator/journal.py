"""The journal: what happened and what is to be done, written before it is done. The only importer of the database.

Rules kept: an event and its effects are one transaction with `synchronous=FULL`; an effect has a UNIQUE key, so the
same one is never carried out twice; signed transactions are here before they are broadcast. One process holds the
journal at a time.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import TypeAdapter
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.pool import NullPool

from validator.errors import BadInput, Fatal
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.machine import step
from validator.protocol.state import TaskState
from validator.types import EffectKey, TaskId

SCHEMA_VERSION = 1
NONCE_BYTES = 12

_metadata = sa.MetaData()
_about = sa.Table("about", _metadata, sa.Column("schema_version", sa.Integer, nullable=False))
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.String(66), nullable=False, index=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("sealed_body", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at_s", sa.Float, nullable=False),
)
_effects = sa.Table(
    "effects",
    _metadata,
    sa.Column("key", sa.String(120), primary_key=True),
    sa.Column("caused_by", sa.ForeignKey("events.sequence"), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("is_done", sa.Boolean, nullable=False, default=False),
)
_transactions = sa.Table(
    "transactions",
    _metadata,
    sa.Column("tx_hash", sa.String(66), primary_key=True),
    sa.Column("effect_key", sa.ForeignKey("effects.key"), nullable=False),
    sa.Column("sealed_raw", sa.LargeBinary, nullable=False),
    sa.Column("recorded_at_s", sa.Float, nullable=False),
)

_ADAPTERS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}


class Journal:
    """Opens, and creates if need be, the SQLite journal at `path`; BadInput if it cannot be used.

    What events and transactions say is sealed with `key` (32 bytes): replies and a settlement that has not left yet
    show the marks of tasks that are not settled (protocol, invariant 6; K8).
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._box = ChaCha20Poly1305(key)
        try:
            self._lock = path.with_suffix(".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _make_private(path)
        except BlockingIOError as error:
            raise BadInput(f"another process is using the journal {path}") from error
        except OSError as error:
            raise BadInput(f"cannot use the journal {path}: {error.strerror}") from error
        self._engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
        sa.event.listen(self._engine, "connect", _set_pragmas)
        try:
            self._connection = self._engine.connect()
            version = self._read_or_write_version()
        except sa.exc.DBAPIError as error:
            raise BadInput(f"cannot use the journal {path}: {error.orig}") from error
        if version != SCHEMA_VERSION:
            raise BadInput(f"the journal {path} has schema version {version}, this program writes {SCHEMA_VERSION}")

    def _read_or_write_version(self) -> int:
        """Which program's tables these are; an empty file gets ours."""
        with self._connection.begin():
            if not sa.inspect(self._connection).has_table(_about.name):
                _metadata.create_all(self._connection)
                self._connection.execute(sa.insert(_about).values(schema_version=SCHEMA_VERSION))
            version: int = self._connection.execute(sa.select(_about.c.schema_version)).scalar_one()
        return version

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; Fatal if it cannot be written (K1, K2)."""
        try:
            with self._connection.begin():
                yield
        except sa.exc.DBAPIError as error:
            raise Fatal(f"the journal cannot be written: {error.orig}") from error

    def _seal(self, plain: bytes, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._box.encrypt(nonce, plain, context.encode())

    def _unseal(self, sealed: bytes, context: str) -> bytes:
        try:
            return self._box.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except InvalidTag as error:
            raise BadInput("the journal was written under another master seed, or it is damaged") from error

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()
        self._lock.close()

    def record(self, event: Event, effects: Iterable[Effect]) -> list[Effect]:
        """Write an event with its effects; those that were not yet known, which are the ones to carry out.

        The same key with the same content is already done; with another content it is Fatal, like a double vote.
        """
        new = []
        with self._transaction():
            sequence = self._connection.execute(
                sa.insert(_events)
                .values(
                    task_id="0x" + event.task_id.hex(),
                    kind=type(event).__name__,
                    sealed_body=self._seal(_ADAPTERS[type(event).__name__].dump_json(event), type(event).__name__),
                    recorded_at_s=time.time(),
                )
                .returning(_events.c.sequence)
            ).scalar_one()
            for effect in effects:
                body = _encode_effect(effect)
                known = self._connection.execute(
                    sa.select(_effects.c.body).where(_effects.c.key == effect.key)
                ).scalar()
                if known is None:
                    self._connection.execute(
                        sa.insert(_effects).values(key=effect.key, caused_by=sequence, body=body, is_done=False)
                    )
                    new.append(effect)
                elif known != body:
                    raise Fatal(f"the effect {effect.key} is known with another content")
        return new

    def record_transaction(self, effect_key: EffectKey, tx_hash: bytes, raw: bytes) -> None:
        """Write a signed transaction before it is broadcast (P3); the same bytes may be signed and written again."""
        with self._transaction():
            self._connection.execute(
                insert(_transactions)
                .values(
                    tx_hash="0x" + tx_hash.hex(),
                    effect_key=effect_key,
                    sealed_raw=self._seal(raw, effect_key),
                    recorded_at_s=time.time(),
                )
                .on_conflict_do_nothing()
            )

    def mark_done(self, effect_key: EffectKey) -> None:
        with self._transaction():
            self._connection.execute(sa.update(_effects).where(_effects.c.key == effect_key).values(is_done=True))

    def events(self) -> Iterator[Event]:
        """Every event ever recorded, in order."""
        query = sa.select(_events.c.kind, _events.c.sealed_body).order_by(_events.c.sequence)
        rows = self._connection.execute(query).all()
        self._connection.rollback()
        for kind, sealed_body in rows:
            yield _ADAPTERS[kind].validate_json(self._unseal(sealed_body, kind))

    def replay(self) -> dict[TaskId, TaskState]:
        """Every task as the journal tells it."""
        states: dict[TaskId, TaskState] = {}
        for event in self.events():
            states[event.task_id] = step(states.get(event.task_id), event)[0]
        return states


def _make_private(path: Path) -> None:
    """Create the file for its owner alone, before SQLite does: its WAL and its index take over the mode (K5, K8)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _encode_effect(effect: Effect) -> str:
    return json.dumps({"kind": type(effect).__name__} | asdict(effect), default=bytes.hex, sort_keys=True)


def _set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
