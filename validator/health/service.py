"""The daemon as the operating system's service: what systemd is told, and an end to a process that is wedged.

Rules kept: who watches is told of progress, never of mere life, and a wedged process is ended by a thread of the C
runtime, which needs neither the loop nor the interpreter's lock (complaint 3: `sys.exit` hangs on the very thing that
hangs). No core dump is left, since memory holds the keys (K8).
"""

import asyncio
import faulthandler
import os
import resource
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from validator.errors import first_error
from validator.health.progress import Progress

LONGEST_INTERVAL_S = 1.0
WEDGED_S = 60.0
"""A loop that has not turned for so long is ended, and the service manager starts another."""

log = structlog.get_logger(__name__)


def forbid_core_dumps() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def allow_all_descriptors() -> None:
    """Take all file descriptors that this process may have; shells give a fraction of them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def count_free_descriptors() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (sys.maxsize if limit == resource.RLIM_INFINITY else limit) - len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def notify(*lines: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3)): READY=1, STATUS=..., STOPPING=1.

    A manager that does not listen is its own fault and stops nothing here (O9).
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.setblocking(False)
        manager.sendto("\n".join(lines).encode(), "\0" + address[1:] if address[0] == "@" else address)


def read_watchdog_interval_s() -> float | None:
    """How often the service manager wants to hear of progress, None if it does not (sd_watchdog_enabled(3))."""
    text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(text) / 1e6 if text.isdigit() and int(text) and pid == str(os.getpid()) else None


class Watchdog:
    """Passes progress on at half the interval that is asked for, and never says that there is some when there is none.

    With `exit_after_s` the process ends with status 1 once the loop has not turned for so long; where each thread stood
    is then in the file `trace`: function names and lines, no values.
    """

    def __init__(self, progress: Progress, *, exit_after_s: float | None = None, trace: Path | None = None) -> None:
        self._progress = progress
        self._exit_after_s = exit_after_s
        self._trace = trace

    async def run(self) -> None:
        """Until cancelled."""
        wanted_s = read_watchdog_interval_s()
        interval_s = min(LONGEST_INTERVAL_S, *(each / 2 for each in (wanted_s, self._exit_after_s) if each is not None))
        # A file, since a write to a terminal or a pipe may block, and then nobody would end the process.
        with (self._trace or Path(os.devnull)).open("ab") as trace:
            try:
                while True:
                    notify(*["WATCHDOG=1"] * self._progress.turning().is_ok, f"STATUS={self._progress.ready()}")
                    if self._exit_after_s is not None:
                        faulthandler.dump_traceback_later(self._exit_after_s, exit=True, file=trace)
                    await asyncio.sleep(interval_s)
            finally:
                if self._exit_after_s is not None:
                    faulthandler.cancel_dump_traceback_later()


async def run_parts(
    parts: Mapping[str, Coroutine[Any, Any, None]], progress: Progress, directory: Path, **about: object
) -> None:
    """Run these, by their names, and a watchdog, until SIGTERM or SIGINT; what is fatal to one ends all, and is raised.

    `about` is logged once they run. Where a wedged process stood is left in `directory`.
    """
    watchdog = Watchdog(progress, exit_after_s=WEDGED_S, trace=directory / "wedged.txt")
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with asyncio.TaskGroup() as group:
            named = {"watchdog": watchdog.run(), **parts}
            running = [group.create_task(part, name=name) for name, part in named.items()]
            log.info("ready", **about, pid=os.getpid())
            notify("READY=1")
            await stopped.wait()
            notify("STOPPING=1")
            log.info("stopping")
            for part in running:
                part.cancel()
    except BaseExceptionGroup as errors:  # boundary: nothing is swallowed, the first error goes on alone
        raise first_error(errors) from None
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
