"""One validator's database: opened only if it is whole and its own, written in transactions, stopped in doubt.

Rules kept: one process at a time holds it, and that is asked again in every transaction (P7); nothing is written after
a failure whose outcome nobody knows (K2), nor after a protective stop, restarts included (P10).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from validator.errors import BadInput, DiskFull, Fatal
from validator.journal import tables
from validator.journal.databases import DatabaseFailure, database_at, describe, is_disk_full
from validator.journal.migrations import migrate
from validator.journal.sealing import Box
from validator.journal.tables import SCHEMA_VERSION, Identity


class Contradiction(Fatal):
    """What is to be written contradicts what is written, like a double vote: it leaves the journal stopped."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was written: its columns in clear, and its body."""

    clear: Mapping[str, Any]
    body: bytes


class Store:
    """Opens, and creates if need be, the journal at `place`: see `Journal`."""

    def __init__(self, place: Path | str, key: bytes, identity: Identity, *, despite_stop: bool) -> None:
        self.identity = identity
        self._database = database_at(place)
        self._box = Box(key, self._database.name)
        self._failure: str | None = None
        with ExitStack() as opened:
            opened.callback(self._database.close)
            try:
                self.connection = self._database.connect(str(identity))
                opened.callback(self.connection.close)
                with self.connection.begin():
                    self._create_or_migrate()
                    self.stop_reason = self._check_all_rows()
            except DatabaseFailure as error:
                raise BadInput(f"cannot use the journal {self._database.name}: {describe(error)}") from error
            except (sa.exc.InvalidRequestError, UnicodeDecodeError) as error:
                # SQLite's own message about a damaged schema may be no text either.
                raise BadInput(f"the journal {self._database.name} is damaged: {error}") from error
            if self.stop_reason is not None and not despite_stop:
                raise BadInput(
                    f"the journal {self._database.name} is stopped: {self.stop_reason}; "
                    "find out why before you clear the stop"
                )
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, in the hands of this process alone; DiskFull or Fatal if it cannot be (K1, K2).

        A full disk leaves things as they were, and the journal can go on when there is space. After any other failure
        nobody knows what is on the disk: this Store is finished, and only opening the journal again tells.
        """
        if self._failure is not None:
            raise Fatal(self._failure)
        try:
            with self.connection.begin():
                if not self._database.is_held(self.connection):
                    self._failure = f"the journal {self._database.name} or its lock was taken away while in use"
                    raise Fatal(self._failure)
                yield
        except DatabaseFailure as error:
            failure = f"the journal cannot be written: {describe(error)}"
            if is_disk_full(error):
                raise DiskFull(failure) from error
            self._failure = failure
            self.connection.invalidate()
            raise Fatal(failure) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that a stop forbids, and that ends in a stop if it finds a Contradiction."""
        if self.stop_reason is not None:
            raise Fatal(f"the journal is stopped: {self.stop_reason}")
        try:
            with self.transaction():
                yield
        except Contradiction as error:
            self.stop(str(error))
            raise

    def stop(self, reason: str) -> None:
        """Write nothing more, from now on and after every restart, until `clear_stop` (P10)."""
        self.stop_reason = reason
        with self.transaction():
            (about,) = self.rows(tables.about)
            self.update(tables.about, about, body=reason.encode("utf-8", "backslashreplace"), stopped_at_s=time.time())

    def clear_stop(self) -> None:
        """An operator's explicit act, once the reason is understood."""
        with self.transaction():
            (about,) = self.rows(tables.about)
            self.update(tables.about, about, body=b"", stopped_at_s=None)
        self.stop_reason = None

    def rows(self, table: sa.Table, *where: sa.ColumnElement[bool], at_most: int | None = None) -> list[Row]:
        """The rows that match, by primary key; BadInput if one is not as it was written (K4)."""
        return list(self._scan(table, *where, at_most=at_most))

    def _scan(self, table: sa.Table, *where: sa.ColumnElement[bool], at_most: int | None = None) -> Iterator[Row]:
        query = sa.select(table).where(*where).order_by(*table.primary_key).limit(at_most)
        for row in map(dict, self.connection.execute(query).mappings()):
            yield Row(row, self._box.unseal_row(table, row))

    def row(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Row | None:
        """The only row that matches."""
        found = self.rows(table, *where)
        return found[0] if found else None

    def insert(self, table: sa.Table, body: bytes = b"", **clear: Any) -> None:
        """Every column but `sealed` must be given."""
        self.connection.execute(sa.insert(table).values(self._box.seal_row(table, clear, body)))

    def update(self, table: sa.Table, row: Row, body: bytes | None = None, **changes: Any) -> None:
        """Change some columns of a row, and its body where one is given."""
        clear = {column.name: row.clear[column.name] for column in table.c if column.name != "sealed"} | changes
        values = self._box.seal_row(table, clear, row.body if body is None else body)
        key = [column == row.clear[column.name] for column in table.primary_key]
        self.connection.execute(sa.update(table).where(*key).values(values))

    def next(self, *columns: sa.Column[int], at_least: int = 1) -> int:
        """One more than the highest number in any of these columns."""
        queries = [sa.select(sa.func.max(column)).scalar_subquery() for column in columns]
        highest: Sequence[int | None] = self.connection.execute(sa.select(*queries)).one()
        return max([at_least, *(number + 1 for number in highest if number is not None)])

    def _create_or_migrate(self) -> None:
        found = sa.inspect(self.connection).get_table_names()
        if not found:
            tables.metadata.create_all(self.connection)
            self.insert(tables.about, schema_version=SCHEMA_VERSION, stopped_at_s=None, **asdict(self.identity))
            return
        if tables.about.name not in found:
            raise BadInput(f"{self._database.name} holds something else than a journal: name another place")
        version = self.connection.execute(sa.select(tables.about.c.schema_version)).scalar_one()
        if version > SCHEMA_VERSION:
            raise BadInput(
                f"the journal {self._database.name} has schema version {version}, this program writes "
                f"{SCHEMA_VERSION}: use the newer program that wrote it"
            )
        if version < SCHEMA_VERSION:
            migrate(self.connection, self._box, version, self.identity)

    def _check_all_rows(self) -> str | None:
        """Every row is as it was written, none is missing in between, and all is the identity's; why it is stopped."""
        about = self.connection.execute(sa.select(tables.about)).mappings().one()
        owner = Identity(about["chain_id"], about["contract"], about["validator"])
        if owner != self.identity:
            raise BadInput(f"the journal {self._database.name} belongs to {owner}, this is {self.identity}")
        for table in tables.metadata.sorted_tables:
            for number, row in enumerate(self._scan(table), 1):
                if row.clear.get("sequence", number) != number:
                    raise BadInput(f"the journal {self._database.name} is damaged: {table.name} lacks row {number}")
        (about_row,) = self.rows(tables.about)
        return None if about_row.clear["stopped_at_s"] is None else about_row.body.decode()
