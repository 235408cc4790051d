"""Child processes for model work, none of which outlives us.

Rules kept: a model that crashes or exhausts memory kills a child, not the parent (P12); a child ignores the terminal's
Ctrl-C, is ended by `close`, and ends itself when this process is gone, however it went. A child that reads what a
stranger made lives for one job, within limits.

Children are forked from a server that has imported PyTorch and Transformers once, which takes seconds, and done nothing
with them. It has the environment of the first child's start.
"""

import asyncio
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from validator.errors import BadInput, TouchstoneError, Transient

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=ForkServerContext)
GRACE_SECONDS = 3.0
MAX_TEMPORARY_BYTES = 70
"""Of a temporary directory's path: those of sockets in it must be under 104 bytes on macOS, 108 on Linux."""


class WorkerDied(Transient):
    """A child process ended in the middle of its work."""


class WorkFailed(TouchstoneError):
    """The work itself raised an error in the child process."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may use before it is ended (M13, P12).

    Not limited is the number of processes, which Linux counts for the whole user: nothing that a job reads is code.
    """

    wall_s: float = 900.0
    cpu_s: int = 3600
    memory_bytes: int = 16 << 30
    """Address space, on top of what the process has when the job begins."""

    def apply(self) -> None:
        """Limit this process from now on, and leave no core file, which would hold what it has read (K8)."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = int(used.ru_utime + used.ru_stime) + self.cpu_s
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        for kind, limit in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, cpu_s),
            (resource.RLIMIT_AS, pages * resource.getpagesize() + self.memory_bytes),
        ):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


async def run_in_child(function: Callable[..., T], *args: Any, limits: JobLimits) -> T:
    """The function's result, from a process of its own that is gone when this returns, is cancelled or raises.

    WorkerDied if the process died or went over a limit, WorkFailed if the function raised what is not ours.
    """
    context = _preload(ForkServerContext())
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run_job, args=(sender, limits, function, args), daemon=True)
    # In a thread: starting waits until the child has read its arguments.
    starting = asyncio.ensure_future(asyncio.to_thread(_start, child, sender))

    async def end() -> None:
        await asyncio.wait([starting])
        if child.pid is not None:
            await asyncio.to_thread(_end, child)
        receiver.close()

    try:
        await asyncio.shield(starting)
        async with asyncio.timeout(limits.wall_s):
            await _readable(receiver)
        outcome = await asyncio.to_thread(receiver.recv)
    except TimeoutError as error:
        raise WorkerDied(f"a job took longer than {limits.wall_s:g} s") from error
    except (EOFError, ConnectionError) as error:
        raise WorkerDied("a worker process died") from error
    finally:
        await asyncio.shield(asyncio.ensure_future(end()))
    if isinstance(outcome, TouchstoneError):
        raise outcome
    result: T = outcome
    return result


class ChildPool:
    """Runs functions in at most `size` processes; they start with the first call."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._context = _preload(_RememberingContext())
        self._executor = self._new_executor()

    def _new_executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._size, mp_context=self._context, initializer=_live_with_parent)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. WorkerDied if its process died, WorkFailed if it raised what is not ours."""
        executor = self._executor
        try:
            # In a thread: a child's start waits until the server has imported.
            future = await asyncio.to_thread(executor.submit, function, *args, **kwargs)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            if executor is self._executor:
                self._executor = self._new_executor()
            raise WorkerDied("a worker process died") from error
        except TouchstoneError:
            raise
        except Exception as error:  # boundary: foreign code ran in the child, and its errors become ours here
            raise WorkFailed(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """End every child, in the middle of its work if need be, and wait until it is gone."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for child in self._context.started:
            child.terminate()
        for child in self._context.started:
            child.join(GRACE_SECONDS)
            if child.is_alive():
                child.kill()
                child.join()


class _RememberingContext(ForkServerContext):
    """Starts processes, and knows which: an executor does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[ForkServerProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> ForkServerProcess:  # type: ignore[override]  # noqa: N802 - its name there
        process = ForkServerProcess(*args, **kwargs)
        self.started.append(process)
        return process


def _preload(context: C) -> C:
    """BadInput where there is no room for the server's socket."""
    if len(os.fsencode(tempfile.gettempdir())) > MAX_TEMPORARY_BYTES:
        raise BadInput(f"the directory {tempfile.gettempdir()} is too deep for a socket: set TMPDIR to a shorter one")
    context.set_forkserver_preload(["validator.language_model"])  # Where PyTorch is not installed, it goes without.
    return context


def _start(child: multiprocessing.process.BaseProcess, sender: Connection) -> None:
    child.start()
    sender.close()  # the child has the only other one, so its end is the end of the pipe


def _end(child: multiprocessing.process.BaseProcess) -> None:
    child.kill()
    child.join()


async def _readable(receiver: Connection) -> None:
    loop, is_readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(receiver.fileno(), is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(receiver.fileno())


def _run_job(sender: Connection, limits: JobLimits, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    _live_with_parent()
    outcome: Any
    try:
        outcome = do_job(limits, function, args)
    except TouchstoneError as error:
        outcome = error
    sender.send(outcome)


def do_job(limits: JobLimits, function: Callable[..., T], args: tuple[Any, ...]) -> T:
    """The function's result, or its error as one of ours, in the process that does the job."""
    limits.apply()
    try:
        return function(*args)
    except TouchstoneError:
        raise
    except ModuleNotFoundError as error:
        install = "pip install 'touchstone-validator[model]'"
        raise BadInput(f"model work needs a package that is not installed ({error.name}): {install}") from error
    except MemoryError as error:
        raise WorkerDied("a job needed more memory than it may have") from error
    except Exception as error:  # boundary: foreign code ran here, and its errors become ours
        raise WorkFailed(f"{type(error).__name__}: {error}") from error


def _live_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this function only runs in a child

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
