"""What we believe of SQLite, where the journal rests on it."""

import sqlite3
from pathlib import Path

import pytest


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def test_a_full_disk_rolls_the_transaction_back_and_the_connection_goes_on(tmp_path: Path) -> None:
    """K1: what was written before is there, what was not committed is not, and with space the same statement works."""
    connection = connect(tmp_path / "file.sqlite")
    connection.execute("CREATE TABLE rows (content BLOB)")
    connection.execute("INSERT INTO rows VALUES ('before')")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO rows VALUES ('in the same transaction')")
    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("INSERT INTO rows VALUES (zeroblob(100000))")
    assert full.value.sqlite_errorname == "SQLITE_FULL"
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    assert connection.execute("SELECT content FROM rows").fetchall() == [("before",)]
    connection.execute(f"PRAGMA max_page_count = {pages + 100}")
    connection.execute("INSERT INTO rows VALUES (zeroblob(100000))")
    assert connection.execute("SELECT count(*) FROM rows").fetchone() == (2,)
    connection.close()


def test_sqlites_own_lock_lets_a_second_reader_in_and_that_of_the_journal_is_needed(tmp_path: Path) -> None:
    """P7: in WAL mode a second process reads and, between two transactions, writes."""
    first, second = connect(tmp_path / "file.sqlite"), connect(tmp_path / "file.sqlite")
    first.execute("CREATE TABLE rows (content)")
    second.execute("INSERT INTO rows VALUES (1)")
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        second.execute("INSERT INTO rows VALUES (2)")
    first.execute("COMMIT")
    assert second.execute("SELECT * FROM rows").fetchall() == [(1,)]
    first.close()
    second.close()


def test_an_exclusive_locking_mode_keeps_everybody_out_from_the_first_read_on(tmp_path: Path) -> None:
    """P7: for those who open the file without the journal's lock, a backup program for instance."""
    connect(tmp_path / "file.sqlite").execute("CREATE TABLE rows (content)").connection.close()
    first = sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None, timeout=0)
    first.execute("PRAGMA locking_mode=EXCLUSIVE")
    first.execute("SELECT * FROM rows").fetchall()
    second = sqlite3.connect(tmp_path / "file.sqlite", isolation_level=None, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        second.execute("SELECT * FROM rows")
    second.close()
    first.close()
