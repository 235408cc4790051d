"""What differs between an SQLite file and a PostgreSQL server: connecting, one process at a time, syncing, checking.

Everything else is SQLAlchemy Core and the same for both. Nothing here knows what the journal says.
"""

import fcntl
import hashlib
import logging
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from validator.errors import BadInput

POSTGRES_TIMEOUT_S = 30
"""A server that is silent for so long is taken for dead."""


class Database(Protocol):
    """Where one journal lies. `name` is fit for messages."""

    name: str

    def connect(self, owner: str, /) -> sa.Connection:
        """The only connection there is, once this process holds the lock; BadInput or DBAPIError if it gets none.

        `owner` names the journal among all that could lie there.
        """

    def is_held(self, connection: sa.Connection, /) -> bool:
        """Whether this process still holds what it has locked; to be asked inside a transaction."""

    def close(self) -> None:
        """Give the lock back."""


def database_at(place: Path | str) -> Database:
    """An SQLite file for a path, a PostgreSQL server for a URL that begins with `postgresql://`."""
    if str(place).startswith("postgresql://"):
        return PostgresServer(str(place))
    return SqliteFile(Path(place))


DatabaseFailure = (sa.exc.DBAPIError, OSError)
"""What comes of a database that cannot do what it should: pg8000 lets a lost connection through as it is."""


def describe(error: sa.exc.DBAPIError | OSError) -> str:
    """The database's own words, in one line."""
    own = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    details = own.args[0] if own is not None and own.args else error
    text = details["M"] if isinstance(details, dict) else details  # pg8000 brings the fields of the wire protocol.
    return " ".join(str(text).split())


def is_disk_full(error: sa.exc.DBAPIError | OSError) -> bool:
    """Of an SQLite file: a server may go down with its disk, so what became of the transaction is not known there."""
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlite_errorname", None) == "SQLITE_FULL"


class SqliteFile:
    """One file with its WAL, readable by its owner alone (K5), and a lock file beside it (P7)."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._lock_path = path.with_suffix(".lock")
        self._lock: int | None = None
        self._inodes: dict[Path, int] = {}

    def connect(self, _owner: str) -> sa.Connection:
        try:
            self._take_lock()
            self._check_files()
        except BlockingIOError as error:
            raise BadInput(f"another process is using the journal {self.name}") from error
        except OSError as error:
            raise BadInput(f"cannot use the journal {self.name}: {error.strerror}") from error
        engine = sa.create_engine(sa.URL.create("sqlite", database=self.name), poolclass=NullPool)
        sa.event.listen(engine, "connect", self._prepare)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        return engine.connect()

    def is_held(self, _connection: sa.Connection) -> bool:
        """A lock lasts as long as its process; what can be lost is the file that it stands for."""
        try:
            return all(path.stat().st_ino == inode for path, inode in self._inodes.items())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._inodes[self._lock_path] = os.fstat(self._lock).st_ino

    def _check_files(self) -> None:
        """Create the file for its owner alone, before SQLite does: its WAL and its index take over the mode."""
        if not os.access(self._path.parent, os.W_OK):
            raise BadInput(f"the directory of the journal {self.name} cannot be written to")
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._inodes[self._path] = self._path.stat().st_ino
        for path in (self._path, *(Path(f"{self._path}{suffix}") for suffix in ("-wal", "-shm"))):
            if not path.exists():
                continue
            found = path.stat()
            if found.st_uid != os.geteuid():
                raise BadInput(f"{path} belongs to another user: run as its owner, or chown it")
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise BadInput(f"{path} is open to other users: chmod 600 it, if nobody can have changed it")

    def _prepare(self, connection: Any, _record: Any) -> None:
        """Settings, and a look at every page: no index disagrees with its table, no value is of a wrong type (K4)."""
        connection.isolation_level = None  # Else the driver begins transactions by itself, and never before DDL.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")
        (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if finding != "ok":
            raise BadInput(f"the journal {self.name} is damaged: {finding.splitlines()[-1]}")
        # What a crash left in the WAL may be in memory only: from here on, what is read is on the disk (K2).
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class PostgresServer:
    """One database of a server; the lock is an advisory one and ends with the session (P7)."""

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except (sa.exc.ArgumentError, ValueError) as error:
            raise BadInput("the URL of a journal looks like postgresql://user:password@host:port/database") from error
        self.name = parsed.render_as_string(hide_password=True)
        self._url = parsed.set(drivername="postgresql+pg8000")
        self._key = 0

    def connect(self, owner: str) -> sa.Connection:
        try:
            engine = sa.create_engine(
                self._url,
                poolclass=NullPool,
                isolation_level="SERIALIZABLE",
                connect_args={"timeout": POSTGRES_TIMEOUT_S, "application_name": "touchstone"},
            )
        except ModuleNotFoundError as error:
            command = "pip install 'touchstone-validator[postgres]'"
            raise BadInput(f"a journal on PostgreSQL needs a package that is not installed: {command}") from error
        # A dead connection cannot be closed in good order; that it is dead is told once, by the journal.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        self._key = int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], signed=True)
        with ExitStack() as on_failure:
            connection = engine.connect()
            on_failure.callback(connection.close)
            self._prepare(connection)
            on_failure.pop_all()
        return connection

    def _prepare(self, connection: sa.Connection) -> None:
        with connection.begin():
            if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(self._key))).scalar_one():
                raise BadInput(f"another process is using the journal {self.name}")
            if connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
                raise BadInput(f"the server of the journal {self.name} does not sync: set fsync = on")
            if connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off":
                connection.exec_driver_sql("SET synchronous_commit TO on")

    def is_held(self, connection: sa.Connection) -> bool:
        """Asked of the server: behind a pooler, or after a reconnection, it is another session."""
        query = """
            SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()
            AND ((classid::bigint << 32) | objid::bigint) = :key
        """
        return bool(connection.execute(sa.text(query), {"key": self._key}).scalar_one())

    def close(self) -> None:
        """The lock has ended with the connection."""
