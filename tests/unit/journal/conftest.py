"""Every test that asks for `place` runs on both databases."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support import require_or_skip
from tests.unit.journal.postgres import Server, find_binaries, running_server
from tests.unit.journal.scenario import IDENTITY, KEY
from validator.journal import Journal


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    binaries = find_binaries()
    if binaries is None:
        require_or_skip("no PostgreSQL here: apt-get install postgresql")
    with running_server(binaries) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def url(server: Server) -> str:
    return server.empty_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Path | str:
    place: Path | str = request.getfixturevalue("path" if request.param == "sqlite" else "url")
    return place


@pytest.fixture
def journal(place: Path | str) -> Iterator[Journal]:
    journal = Journal(place, KEY, IDENTITY)
    yield journal
    journal.close()


@pytest.fixture
def read_files(place: Path | str, request: pytest.FixtureRequest) -> Callable[[], bytes]:
    """Every byte that the database has on disk, its log included."""

    def read() -> bytes:
        root = place.parent if isinstance(place, Path) else request.getfixturevalue("server").directory
        return b"".join(file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file())

    return read


@pytest.fixture
def execute(place: Path | str) -> Iterator[Callable[[str], list[Any]]]:
    """Another reader, or meddler, of the same database: one statement, committed; the rows that it gives."""
    is_file = isinstance(place, Path)
    target = f"sqlite:///{place}" if is_file else str(place).replace("postgresql:", "postgresql+pg8000:")
    engine = sa.create_engine(target, poolclass=sa.NullPool)

    def run(statement: str) -> list[Any]:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    yield run
    engine.dispose()
