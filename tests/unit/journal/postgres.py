"""A real PostgreSQL server of the test's own, from the binaries of the machine."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

PASSWORD = "a password of the test"  # noqa: S105
OWNERS = ("postgres", "nobody")
"""Whom root becomes, since the server refuses to run as root."""


def find_binaries() -> Path | None:
    """Debian keeps them out of PATH, one folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    return found[-1].parent if found[-1].name else None


@dataclass(frozen=True)
class Server:
    """`directory` holds every file that the server writes."""

    url: sa.URL
    directory: Path

    def wait_until_unlocked(self) -> None:
        """The server needs a moment to notice that a client is dead."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            while connection.exec_driver_sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").first():
                pass

    def empty_database(self) -> str:
        """The URL of a database without a table or another user, as one writes it into a configuration."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def running_server(binaries: Path) -> Iterator[Server]:
    """Started and stopped with the block, on a free port of the loopback interface."""
    owner = next(entry for entry in pwd.getpwall() if entry.pw_name in OWNERS) if os.geteuid() == 0 else None
    identity = {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    with tempfile.TemporaryDirectory() as home, socket.socket() as free:
        if owner is not None:
            os.chown(home, owner.pw_uid, owner.pw_gid)
        data, secret = Path(home, "data"), Path(home, "password")
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()

        def call(*command: object) -> None:
            subprocess.run([*map(str, command)], cwd=home, check=True, stdout=subprocess.DEVNULL, **identity)

        call(binaries / "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256", "--pwfile", secret)
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories=''"
        call(binaries / "pg_ctl", "-D", data, "-w", "-l", Path(home, "log"), "-o", options, "start")
        try:
            url = sa.URL.create("postgresql+pg8000", "owner", PASSWORD, "127.0.0.1", port, "postgres")
            yield Server(url, data)
        finally:
            call(binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop")
