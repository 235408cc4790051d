"""The daemon under a service manager: told of progress and of nothing else; and a wedged process really ends."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from validator.health.progress import Progress
from validator.health.service import Watchdog, notify, read_watchdog_interval_s

DAEMON = """
import asyncio, os, re, sys, time
from pathlib import Path
from validator.health.loop_lag import LoopLag
from validator.health.progress import Progress
from validator.health.service import Watchdog, forbid_core_dumps, notify

async def main(how, trace):
    forbid_core_dumps()
    progress = Progress()
    async with asyncio.TaskGroup() as group:
        group.create_task(LoopLag(progress).run())
        group.create_task(Watchdog(progress, exit_after_s=1.0, trace=Path(trace)).run())
        notify("READY=1")
        await asyncio.sleep(1.5)  # Longer than the limit: who turns is left alone.
        print("turning", flush=True)
        secret_local = "a secret in a frame"
        if how == "holds the lock":
            re.match("(a+)+$", "a" * 64 + "b")  # Never ends, and never lets another thread of Python run.
        elif how == "waits":
            os.read(os.pipe()[0], 1)  # A read without a time limit, as on a socket that is half dead.
        elif how == "exits":
            try:
                sys.exit(1)  # What a watchdog inside the loop would do ...
            finally:
                time.sleep(600)  # ... and where it would hang.

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["waits", "holds the lock", "exits"])
def test_a_wedged_process_ends_and_tells_where_it_stood(tmp_path: Path, how: str):
    """Complaint 3; H5: places, no values."""
    trace = tmp_path / "wedged.txt"
    command = [sys.executable, "-c", DAEMON, how, str(trace)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (child.returncode, child.stdout) == (1, "turning\n")
    assert "in main" in trace.read_text()
    assert "a secret in a frame" not in trace.read_text() + child.stderr


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What the service manager listens on."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@touchstone-tests-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(manager.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_the_manager_hears_what_is_told(manager: socket.socket):
    notify("READY=1", "STATUS=ready")
    assert heard(manager) == ["READY=1\nSTATUS=ready"]


def test_a_manager_that_is_gone_or_was_never_there_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """O9."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: socket.socket):
    """O9."""
    for _ in range(10_000):
        notify("STATUS=" + "x" * 1000)
    assert 0 < len(heard(manager)) < 10_000


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("20000000", None, 20.0),
        ("20000000", str(os.getpid()), 20.0),
        ("20000000", "1", None),
        ("0", None, None),
        ("", None, None),
        ("-1", None, None),
    ],
    ids=["every process", "this process", "another process", "none", "empty", "nonsense"],
)
def test_the_interval_is_the_managers(monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, interval_s):
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert read_watchdog_interval_s() == interval_s


@pytest.mark.parametrize("is_turning", [True, False])
async def test_the_manager_hears_of_progress_at_half_its_interval_and_only_if_there_is_some(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, is_turning: bool
):
    """Complaints 3 and 4: a watcher that hangs is no progress, however well the loop turns."""
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    progress = Progress()
    if not is_turning:
        progress.head_polled_at -= 901.0
    began = asyncio.get_running_loop().time()
    running = asyncio.create_task(Watchdog(progress).run())
    messages: list[str] = []
    while len(messages) < 5:
        messages += await asyncio.get_running_loop().run_in_executor(None, heard, manager)
    running.cancel()
    assert asyncio.get_running_loop().time() - began > 4 * 0.01 * 0.9
    assert all(("WATCHDOG=1" in message) is is_turning for message in messages)
    assert all("STATUS=" in message for message in messages)


def test_no_core_dump_is_left():
    """K8: memory holds the keys."""
    program = (
        "import resource; from validator.health.service import forbid_core_dumps; forbid_core_dumps();"
        "print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stdout == "(0, 0)\n"
