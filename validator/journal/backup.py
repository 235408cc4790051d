"""A consistent copy of an SQLite journal, taken beside the process that is writing it."""

import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from validator.errors import BadInput
from validator.journal.databases import DatabaseFailure, describe


def copy_journal(source: Path, target: Path) -> None:
    """All that is committed now, as one new file that its owner alone can read; BadInput if it cannot be.

    SQLite reads its own log while another process appends to it; a copy of the files would miss what stands there.
    """
    url = sa.URL.create("sqlite", database=f"file:{source}", query={"mode": "rw", "uri": "true"})
    try:
        # An empty file is taken as none, and keeps its mode.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        engine = sa.create_engine(url, poolclass=NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(target),))
        copied = os.open(target, os.O_RDONLY)
        try:
            os.fsync(copied)
        finally:
            os.close(copied)
    except DatabaseFailure as error:
        raise BadInput(f"cannot copy the journal {source} to {target}: {describe(error)}") from error
