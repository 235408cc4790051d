"""An SQLite file behind SQLAlchemy Core, whose transactions begin where SQLAlchemy says, not where the driver would."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from validator.errors import BadInput

LOCK_TIMEOUT_S = 1.0
"""For which a file that another process writes to is waited for."""


@contextmanager
def connected(path: Path, what: str, pragmas: Sequence[str], begin: str = "BEGIN") -> Iterator[sa.Connection]:
    """The only connection, made if there is no file; `begin` opens each transaction. BadInput if it is no `what`."""

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # Else the driver begins transactions by itself.
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_TIMEOUT_S})
    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    try:
        connection = engine.connect()
    except sa.exc.DBAPIError as error:
        raise BadInput(f"{path} is no {what}: {error.orig}") from error
    with closing(connection):
        yield connection
