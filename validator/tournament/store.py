"""The results of a tournament: one SQLite file, to which every round is added in one transaction when it ends.

Rules kept: whatever kills the process, only rounds in flight are lost; a finished round is never written again; two
runs never write to one store (a lock file beside it, which ends with its process). Readers need no lock.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from validator.errors import BadInput
from validator.files import create_whole, locked
from validator.sqlite_file import connected
from validator.tournament.rounds import Played, Result, Round, read_results
from validator.types import Wei

SCHEMA_VERSION = 2
DONE, FAILED = "done", "failed"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

metadata = sa.MetaData()

about = sa.Table("about", metadata, sa.Column("schema_version", sa.Integer, primary_key=True), sqlite_strict=True)

rounds = sa.Table(
    "rounds",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("round", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("report", sa.Text),
    sa.Column("ended_at_s", sa.REAL, nullable=False),
    sa.Column("wall_s", sa.REAL),
    sa.Column("versions", sa.Text),
    sqlite_strict=True,
)
"""`round` is its canonical JSON; `reason` stands where it failed, what follows it where it is done.

Stores of version 0.1.0 have a column `cpu_s` besides, which nothing reads.
"""

miners = sa.Table(
    "miners",
    metadata,
    sa.Column("round_key", sa.Text, sa.ForeignKey("rounds.key"), primary_key=True),
    sa.Column("miner", sa.Text, primary_key=True),
    sa.Column("scheme", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("intent", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("hits", sa.Integer),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("p_value", sa.REAL),
    sa.Column("trained_share", sa.REAL),
    sa.Column("to_miner_wei", sa.Text, nullable=False),
    sa.Column("lost_wei", sa.Text, nullable=False),
    sa.Column("cpu_s", sa.REAL),
    sa.Column("flops", sa.REAL),
    sqlite_strict=True,
)
"""A `Result` in each row; amounts are decimal digits, since wei outgrow 64 bits."""


@dataclass(frozen=True)
class RoundRecord:
    """A round that has ended, one way or the other, without its report."""

    round: Round
    is_done: bool
    attempts: int
    reason: str | None
    """One line, if it failed."""
    ended_at_s: float
    """Unix time."""
    wall_s: float | None
    versions: dict[str, str]


class Store:
    """An open store; `reading` and `writing` open one."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator["Store"]:
        """BadInput if there is none at `path`. Another process may be writing to it."""
        if not path.is_file():
            raise BadInput(
                f"there is no tournament at {path}: `touchstone tournament run GRID --store {path}` plays one"
            )
        with connected(path, "store of a tournament", PRAGMAS) as connection:
            store = cls(connection)
            store._check_schema(path)
            yield store

    @classmethod
    @contextmanager
    def writing(cls, path: Path) -> Iterator["Store"]:
        """Create it if there is none. BadInput if another process is writing to it."""
        lock = path.with_name(f"{path.name}.lock")
        refusal = f"another process is playing the tournament of {path}: wait for it"
        with locked(lock, refusal):
            if not path.exists():
                create_whole(path, _without_rounds(), 0o644)
            with connected(path, "store of a tournament", PRAGMAS) as connection:
                store = cls(connection)
                store._check_schema(path)
                yield store

    def done_keys(self) -> set[str]:
        """Keys of the rounds that need not be played again."""
        with self._connection.begin():
            return set(self._connection.scalars(sa.select(rounds.c.key).where(rounds.c.status == DONE)))

    def add_done(self, played_round: Round, played: Played) -> None:
        """The round's row and its miners', in one transaction."""
        results = read_results(played_round, played.report)
        row = {
            "status": DONE,
            "report": json.dumps(played.report),
            "reason": None,
            "wall_s": played.wall_s,
            "versions": json.dumps(played.versions),
        }
        with self._connection.begin():
            self._put(played_round, row)
            self._connection.execute(miners.insert(), [_to_row(result) for result in results])

    def add_failed(self, failed_round: Round, reason: str) -> None:
        """A round without a result; it may be played again."""
        with self._connection.begin():
            self._put(failed_round, {"status": FAILED, "reason": " ".join(reason.split())})

    def _put(self, ended: Round, row: dict[str, Any]) -> None:
        found = self._connection.execute(sa.select(rounds.c.status, rounds.c.attempts).where(rounds.c.key == ended.key))
        old = found.one_or_none()
        row = row | {"ended_at_s": time.time(), "attempts": 1 if old is None else old.attempts + 1}
        if old is None:
            self._connection.execute(rounds.insert().values(key=ended.key, round=ended.canonical, **row))
            return
        assert old.status == FAILED, "a finished round is never played again"  # noqa: S101 - our own rule
        self._connection.execute(rounds.update().where(rounds.c.key == ended.key).values(**row))

    def rounds(self) -> list[RoundRecord]:
        """All that have ended, in the order of their end."""
        wanted = [column for column in rounds.c if column.name != "report"]
        with self._connection.begin():
            found = self._connection.execute(sa.select(*wanted).order_by(rounds.c.ended_at_s)).all()
        return [
            RoundRecord(
                round=Round.from_canonical(row.round),
                is_done=row.status == DONE,
                attempts=row.attempts,
                reason=row.reason,
                ended_at_s=row.ended_at_s,
                wall_s=row.wall_s,
                versions=json.loads(row.versions or "{}"),
            )
            for row in found
        ]

    def report(self, key: str) -> dict[str, Any]:
        """The simulation's report of a finished round: `validator.simulation.report.SimulationReport` as JSON."""
        with self._connection.begin():
            text = self._connection.scalars(sa.select(rounds.c.report).where(rounds.c.key == key)).one()
        report: dict[str, Any] = json.loads(text)
        return report

    def results(self) -> list[Result]:
        """Every miner of every finished round, each draw once.

        A miner's result depends on settings, seed and its own name alone, so where a grown grid has packed it into a
        second round, that one tells nothing new.
        """
        columns = [miners.c[field.name] for field in fields(Result)]
        query = sa.select(*columns).join(rounds).order_by(rounds.c.ended_at_s, miners.c.miner)
        with self._connection.begin():
            found = [_from_row(row) for row in self._connection.execute(query)]
        first: dict[tuple[object, ...], Result] = {}
        for result in found:
            first.setdefault((result.scheme, result.parameters, result.seed, result.miner), result)
        return list(first.values())

    def _check_schema(self, path: Path) -> None:
        try:
            with self._connection.begin():
                version = self._connection.scalars(sa.select(about.c.schema_version)).one_or_none()
        except sa.exc.DBAPIError as error:
            raise BadInput(f"{path} is no store of a tournament: {error.orig}") from error
        if version != SCHEMA_VERSION:
            raise BadInput(
                f"{path} was written by another version (schema {version}, not {SCHEMA_VERSION}): name another"
            )


def _without_rounds() -> bytes:
    """The file of a new store, made elsewhere: readers never see one without its tables, or one whose mode changes."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "store.sqlite"
        with connected(path, "store of a tournament", PRAGMAS) as connection, connection.begin():
            metadata.create_all(connection)
            connection.execute(about.insert().values(schema_version=SCHEMA_VERSION))
        return path.read_bytes()


def _to_row(result: Result) -> dict[str, Any]:
    return asdict(result) | {"to_miner_wei": str(result.to_miner_wei), "lost_wei": str(result.lost_wei)}


def _from_row(row: sa.Row[Any]) -> Result:
    values = row._asdict()
    return Result(**values | {name: Wei(int(values[name])) for name in ("to_miner_wei", "lost_wei")})


def read_store(path: Path) -> tuple[list[RoundRecord], list[Result]]:
    """What `show` and the report look at."""
    with Store.reading(path) as store:
        return store.rounds(), store.results()
