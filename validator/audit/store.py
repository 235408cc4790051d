"""How far an audit has come, and everything it has read and found: one SQLite file, a transaction for each stretch.

Rules kept: whatever kills the process, the next run goes on behind the last whole stretch; nothing of a task stays in
memory, so ten thousand take no more of it than ten. Without a file of its own an audit has one that ends with it.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from validator.audit.findings import Finding
from validator.audit.history import Dated, TaskHistory
from validator.audit.report import BundleStatus, TaskReport
from validator.edges.chain import Log
from validator.edges.contract import decode_log
from validator.errors import BadInput
from validator.sqlite_file import connected
from validator.types import Address, BlockNumber, Hash32, TaskId

SCHEMA_VERSION = 1
PRAGMAS = ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL")
"""One process at a time. A power cut may lose the last stretches, never a part of one: the chain has them still."""

metadata = sa.MetaData()

about = sa.Table(
    "about",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_strict=True,
)
"""JSON values: what is audited, the last block that was read, and the books."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("block", sa.Integer, primary_key=True),
    sa.Column("log_index", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.BLOB, nullable=False, index=True),
    sa.Column("at_s", sa.Integer, nullable=False),
    sa.Column("block_hash", sa.BLOB, nullable=False),
    sa.Column("tx_hash", sa.BLOB, nullable=False),
    sa.Column("topics", sa.BLOB, nullable=False),
    sa.Column("data", sa.BLOB, nullable=False),
    sqlite_strict=True,
)
"""Logs about tasks as the node gave them; `topics` are 32 bytes each."""

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("task_id", sa.BLOB, primary_key=True),
    sa.Column("opened_at_block", sa.Integer, nullable=False),
    sa.Column("settled_at_s", sa.Integer),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sqlite_strict=True,
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", sa.BLOB, index=True),
    sa.Column("finding", sa.Text, nullable=False),
    sqlite_strict=True,
)
"""Those that came with an event: of its accounts, and of what was used before. The others are in a task's report."""

uses = sa.Table(
    "uses",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.BLOB, primary_key=True),
    sa.Column("purpose", sa.BLOB, nullable=False),
    sqlite_strict=True,
)
"""Commitments, Orders, marks and secrets, and what each was used for first."""


class AuditStore:
    """Use `opened`. Everything between two `commit`s is written whole or not at all."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def opened(cls, path: Path | None, subject: dict[str, Any]) -> Iterator["AuditStore"]:
        """The store at `path`, made if there is none; a passing one for None.

        `subject` says what is audited: BadInput if the store is of something else, or none of ours.
        """
        with (
            tempfile.TemporaryDirectory() as scratch,
            connected(
                path or Path(scratch) / "audit.sqlite", "store of an audit", PRAGMAS, "BEGIN IMMEDIATE"
            ) as connection,
        ):
            store = cls(connection)
            try:
                metadata.create_all(connection)
                kept = store.get("subject")
            except sa.exc.DBAPIError as error:
                raise BadInput(f"{path} is no store of an audit: {error.orig}") from error
            wanted = {"schema": SCHEMA_VERSION} | subject
            if kept not in (None, wanted):
                raise BadInput(f"{path} is of another audit ({kept}): name another --store for {wanted}")
            store.put("subject", wanted)
            store.commit()
            try:
                yield store
            except sa.exc.OperationalError as error:
                raise BadInput(f"the audit's store cannot be written: {error.orig}") from error

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        """Forget what is not committed yet."""
        self._connection.rollback()

    def reset(self) -> None:
        """Forget all that was read: the chain has another past now."""
        subject = self.get("subject")
        for table in metadata.sorted_tables:
            self._connection.execute(table.delete())
        self.put("subject", subject)
        self.commit()

    def get(self, name: str) -> Any:
        """A value that was put, or None."""
        text = self._connection.scalars(sa.select(about.c.value).where(about.c.name == name)).one_or_none()
        return None if text is None else json.loads(text)

    def put(self, name: str, value: Any) -> None:
        row = {"name": name, "value": json.dumps(value)}
        self._connection.execute(about.insert().prefix_with("OR REPLACE").values(**row))

    # --- events

    def add_events(self, dated: Iterable[tuple[TaskId, Dated]]) -> None:
        rows = [
            {
                "block": each.event.log.block_number,
                "log_index": each.event.log.log_index,
                "task_id": task_id,
                "at_s": each.at_s,
                "block_hash": each.event.log.block_hash,
                "tx_hash": each.event.log.tx_hash,
                "topics": b"".join(each.event.log.topics),
                "data": each.event.log.data,
            }
            for task_id, each in dated
        ]
        if rows:
            self._connection.execute(events.insert(), rows)

    def history(self, task_id: TaskId, contract: Address) -> TaskHistory:
        query = events.select().where(events.c.task_id == task_id).order_by(events.c.block, events.c.log_index)
        return TaskHistory(task_id, [_to_dated(row, contract) for row in self._connection.execute(query)])

    # --- what was found

    def put_task(self, report: TaskReport, task_id: TaskId, opened_at_block: int, settled_at_s: int | None) -> None:
        row = {
            "task_id": task_id,
            "opened_at_block": opened_at_block,
            "settled_at_s": settled_at_s,
            "bundle": report.bundle.value,
            "report": report.model_dump_json(),
        }
        self._connection.execute(tasks.insert().prefix_with("OR REPLACE").values(**row))

    def add_findings(self, found: Iterable[Finding]) -> None:
        for finding in found:
            task_id = None if finding.task_id is None else bytes.fromhex(finding.task_id[2:])
            self._connection.execute(findings.insert().values(task_id=task_id, finding=finding.model_dump_json()))

    def findings_of(self, task_id: TaskId | None) -> list[Finding]:
        """Those that came with events of a task; for None, of no task, or of one that was never opened."""
        of_none = findings.c.task_id.is_(None) | findings.c.task_id.not_in(sa.select(tasks.c.task_id))
        chosen = of_none if task_id is None else findings.c.task_id == task_id
        query = sa.select(findings.c.finding).where(chosen).order_by(findings.c.id)
        return [Finding.model_validate_json(text) for text in self._connection.scalars(query)]

    def reports(self, only: Iterable[TaskId] = ()) -> Iterator[TaskReport]:
        """In the order of their opening: all of them, or those of the ids that are given."""
        query = sa.select(tasks.c.report).order_by(tasks.c.opened_at_block, tasks.c.task_id)
        if chosen := list(only):
            query = query.where(tasks.c.task_id.in_(chosen))
        for text in self._connection.scalars(query.execution_options(yield_per=100)):
            yield TaskReport.model_validate_json(text)

    def without_bundle(self, statuses: Iterable[BundleStatus], settled_since_s: int = 0) -> list[TaskId]:
        """Settled tasks whose bundle may have appeared meanwhile."""
        query = sa.select(tasks.c.task_id).where(
            tasks.c.bundle.in_([status.value for status in statuses]), tasks.c.settled_at_s >= settled_since_s
        )
        return [TaskId(task_id) for task_id in self._connection.scalars(query)]

    def note(self, kind: str, keys: Sequence[bytes], purpose: bytes) -> bytes | None:
        """As `books.Uses`."""
        if not keys:
            return None
        query = sa.select(uses.c.purpose).where(uses.c.kind == kind, uses.c.key.in_(keys), uses.c.purpose != purpose)
        other = self._connection.scalars(query.limit(1)).one_or_none()
        rows = [{"kind": kind, "key": key, "purpose": purpose} for key in keys]
        self._connection.execute(uses.insert().prefix_with("OR IGNORE"), rows)
        return other


def _to_dated(row: sa.Row[Any], contract: Address) -> Dated:
    log = Log(
        address=contract,
        topics=tuple(Hash32(row.topics[start : start + 32]) for start in range(0, len(row.topics), 32)),
        data=row.data,
        block_number=BlockNumber(row.block),
        block_hash=Hash32(row.block_hash),
        tx_hash=Hash32(row.tx_hash),
        log_index=row.log_index,
    )
    event = decode_log(log)
    if event is None:
        raise BadInput("the audit's store is damaged: delete it")
    return Dated(event, row.at_s)
