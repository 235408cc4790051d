"""Only one process, only the journal's own validator, only files that are its owner's alone; in doubt it stays shut."""

import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests import factories as f
from tests.support import require_or_skip
from tests.unit.journal.postgres import PASSWORD
from tests.unit.journal.scenario import DELIVER, IDENTITY, KEY, OPEN
from validator.errors import BadInput, Fatal
from validator.journal import Journal
from validator.journal.tables import SCHEMA_VERSION

OPENING = """
import sys
from pathlib import Path
from tests.unit.journal.scenario import IDENTITY, KEY
from validator.journal import Journal
place = sys.argv[1]
journal = Journal(place if "://" in place else Path(place), KEY, IDENTITY)
print("open", flush=True)
"""
NOBODY = 65534


def start(place, **options):
    """Another process that opens the journal."""
    return subprocess.Popen(
        [sys.executable, "-c", OPENING + options.pop("then", ""), str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_second_process_is_refused(journal, place):
    """P7."""
    other = start(place)
    _output, errors = other.communicate()
    assert other.returncode == 1
    assert "BadInput: another process is using the journal" in errors
    assert PASSWORD not in errors


def test_the_lock_ends_with_the_journal_and_with_its_process(place, request):
    """P7: neither a clean end nor SIGKILL leaves a lock behind."""
    Journal(place, KEY, IDENTITY).close()
    other = start(place, then="sys.stdin.read()", stdin=subprocess.PIPE)
    assert other.stdout.readline() == "open\n"
    with pytest.raises(BadInput, match="another process is using"):
        Journal(place, KEY, IDENTITY)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    if not isinstance(place, Path):
        request.getfixturevalue("server").wait_until_unlocked()
    Journal(place, KEY, IDENTITY).close()


@pytest.mark.parametrize("suffix", [".lock", ".sqlite"])
@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "replaced"])
def test_a_file_that_is_taken_away_in_use_is_noticed_before_anything_is_written(path, suffix, is_replaced):
    """P7, O6: whoever made a new file there may hold a lock on it, and what we wrote would be lost."""
    journal = Journal(path, KEY, IDENTITY)
    journal.record(f.PLANNED, [OPEN])
    path.with_suffix(suffix).rename(path.with_suffix(".elsewhere"))
    if is_replaced:
        path.with_suffix(suffix).touch()
    for _ in range(2):
        with pytest.raises(Fatal, match="taken away while in use"):
            journal.record(f.OPENED, [DELIVER])
    journal.close()


@pytest.mark.parametrize("loss", ["the session", "the lock alone"])
def test_a_server_that_drops_the_session_or_its_lock_is_noticed_before_anything_is_written(url, server, loss):
    """P7: the connection is never made anew behind the lock's back."""
    journal = Journal(url, KEY, IDENTITY)
    journal.record(f.PLANNED, [OPEN])
    if loss == "the session":
        admin = sa.create_engine(server.url, poolclass=sa.NullPool)
        with admin.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            )
    else:
        journal._store.connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        journal._store.connection.commit()
    for _ in range(2):
        with pytest.raises(Fatal, match=r"cannot be written|taken away while in use"):
            journal.record(f.OPENED, [DELIVER])
    journal.close()
    again = Journal(url, KEY, IDENTITY)
    assert list(again.events()) == [f.PLANNED]
    again.close()


@pytest.mark.parametrize(
    "other",
    [replace(IDENTITY, chain_id=1), replace(IDENTITY, contract=f.MINER), replace(IDENTITY, validator=f.MINER)],
    ids=["chain", "contract", "validator"],
)
def test_the_journal_of_another_validator_is_refused_and_both_are_named(place, other):
    """O1, P9."""
    Journal(place, KEY, IDENTITY).close()
    with pytest.raises(BadInput, match=re.escape(f"belongs to {IDENTITY}, this is {other}")):
        Journal(place, KEY, other)
    Journal(place, KEY, IDENTITY).close()


def test_another_master_seed_is_refused_even_on_an_empty_journal(place):
    Journal(place, KEY, IDENTITY).close()
    with pytest.raises(BadInput, match="another master seed"):
        Journal(place, bytes([1]) * 32, IDENTITY)


def test_a_journal_of_a_newer_program_is_refused_and_left_alone(place, execute):
    """P14."""
    Journal(place, KEY, IDENTITY).close()
    execute("UPDATE about SET schema_version = schema_version + 1")
    execute("DROP TABLE nonces")
    with pytest.raises(BadInput, match=f"schema version {SCHEMA_VERSION + 1}, this program writes {SCHEMA_VERSION}"):
        Journal(place, KEY, IDENTITY)
    with pytest.raises(sa.exc.DBAPIError, match="nonces"):
        execute("SELECT * FROM nonces")


def test_a_database_of_something_else_is_left_alone(place, execute):
    if isinstance(place, Path):
        place.touch(mode=0o600)
    execute("CREATE TABLE customers (name TEXT)")
    with pytest.raises(BadInput, match="holds something else than a journal"):
        Journal(place, KEY, IDENTITY)
    with pytest.raises(sa.exc.DBAPIError, match="about"):
        execute("SELECT * FROM about")


def test_a_stop_lasts_until_it_is_cleared(place):
    """P10: neither this process nor a restart goes on; whoever looks into it can read everything."""
    journal = Journal(place, KEY, IDENTITY)
    journal.record(f.PLANNED, [OPEN])
    journal.stop("a nonce was used by a transaction that we\x00 did not \ud800 sign")
    for write in (
        lambda: journal.record(f.OPENED, [DELIVER]),
        lambda: journal.mark_done(OPEN.key),
        lambda: journal.transactions.reserve_nonce(OPEN.key, 0),
    ):
        with pytest.raises(Fatal, match="is stopped: a nonce was used"):
            write()
    journal.close()
    for _ in range(2):
        with pytest.raises(BadInput, match=r"is stopped: a nonce was used .*; find out why"):
            Journal(place, KEY, IDENTITY)
    operators = Journal(place, KEY, IDENTITY, despite_stop=True)
    assert operators.stop_reason.startswith("a nonce was used")
    assert [line.event for line in operators.story(f.TASK_ID)] == [f.PLANNED]
    with pytest.raises(Fatal, match="is stopped"):
        operators.record(f.OPENED, [DELIVER])
    operators.clear_stop()
    operators.close()
    again = Journal(place, KEY, IDENTITY)
    assert again.stop_reason is None
    assert again.record(f.OPENED, [DELIVER]) == [DELIVER]
    again.close()


def test_every_file_of_the_journal_is_its_owners_alone(path):
    """K5, whatever the umask."""
    old = os.umask(0)
    try:
        journal = Journal(path, KEY, IDENTITY)
        journal.record(f.PLANNED, [OPEN])
        modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in path.parent.iterdir()}
        journal.close()
    finally:
        os.umask(old)
    assert "journal.sqlite-wal" in modes
    assert set(modes.values()) == {"0o600"}, modes


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_a_journal_that_others_can_open_is_refused(path, mode):
    """K5."""
    Journal(path, KEY, IDENTITY).close()
    path.chmod(mode)
    with pytest.raises(BadInput, match="is open to other users: chmod 600 it"):
        Journal(path, KEY, IDENTITY)
    assert stat.S_IMODE(path.stat().st_mode) == mode, "nothing is mended behind the owner's back"


def test_a_journal_of_another_user_is_refused(path):
    """K5."""
    if os.geteuid() != 0:
        require_or_skip("only root can give a file away")
    Journal(path, KEY, IDENTITY).close()
    os.chown(path, NOBODY, -1)
    with pytest.raises(BadInput, match="belongs to another user"):
        Journal(path, KEY, IDENTITY)


def test_a_read_only_directory_is_refused(tmp_path):
    """K5: for root too, where the file system itself is read-only."""
    folder = tmp_path / "journals"
    folder.mkdir()
    Journal(folder / "journal.sqlite", KEY, IDENTITY).close()
    if os.geteuid() == 0:
        mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && "
        command = ["unshare", "-m", "sh", "-c", mount + 'exec "$@"', "sh"]
    else:
        folder.chmod(0o500)
        command = []
    program = [*command, sys.executable, "-c", OPENING, str(folder / "journal.sqlite")]
    other = subprocess.run(program, capture_output=True, text=True, check=False)
    folder.chmod(0o700)
    if "mount:" in other.stderr or "unshare:" in other.stderr:
        require_or_skip("root cannot mount here")
    assert re.search(r"BadInput: .*journals/journal\.sqlite", other.stderr), other.stderr


@pytest.mark.parametrize("kind", ["a folder", "no folder", "no database"])
def test_a_path_that_cannot_hold_a_journal_is_bad_input(path, kind):
    if kind == "a folder":
        path.mkdir()
    elif kind == "no folder":
        path = path.parent / "missing" / "journal.sqlite"
    else:
        path.write_bytes(b"this is a text file, not a database" * 100)
        path.chmod(0o600)
    with pytest.raises(BadInput, match=r"journal\.sqlite"):
        Journal(path, KEY, IDENTITY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"database": "missing"}, 'database "missing" does not exist'),
        ({"port": 1}, "connect"),
    ],
)
def test_a_server_that_cannot_be_used_is_bad_input_and_no_password_is_shown(server, change, message):
    url = server.url.set(drivername="postgresql", **change).render_as_string(hide_password=False)
    with pytest.raises(BadInput, match=message) as refusal:
        Journal(url, KEY, IDENTITY)
    assert PASSWORD not in str(refusal.value)
    assert "wrong" not in str(refusal.value)


def test_a_url_that_is_none_is_bad_input():
    with pytest.raises(BadInput, match="looks like postgresql://"):
        Journal("postgresql://host:port/x", KEY, IDENTITY)


def test_without_the_driver_the_way_to_it_is_named():
    program = "import sys; sys.modules['pg8000'] = None" + OPENING
    other = subprocess.run(
        [sys.executable, "-c", program, "postgresql://host/x"], capture_output=True, text=True, check=False
    )
    assert "BadInput: a journal on PostgreSQL needs a package" in other.stderr
    assert "pip install 'touchstone-validator[postgres]'" in other.stderr


def test_a_server_that_does_not_sync_is_refused(url, server):
    """K3: and a session for which only the commit is put off is told to wait for it."""
    admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql("ALTER DATABASE postgres SET synchronous_commit TO off")
        try:
            journal = Journal(url, KEY, IDENTITY)
            assert journal._store.connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
            journal.close()
        finally:
            connection.exec_driver_sql("ALTER DATABASE postgres RESET synchronous_commit")
        connection.exec_driver_sql("ALTER SYSTEM SET fsync TO off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        try:
            with pytest.raises(BadInput, match="does not sync: set fsync = on"):
                Journal(url, KEY, IDENTITY)
        finally:
            connection.exec_driver_sql("ALTER SYSTEM RESET fsync")
            connection.exec_driver_sql("SELECT pg_reload_conf()")


def test_every_commit_is_synced(path):
    """K3."""
    journal = Journal(path, KEY, IDENTITY)
    settings = {
        name: journal._store.connection.exec_driver_sql(f"PRAGMA {name}").scalar()
        for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
    }
    journal.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
