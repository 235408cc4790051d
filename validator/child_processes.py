"""Child processes for model work, none of which outlives us.

Rules kept: a model that crashes or exhausts memory kills a child, not the parent (P12); a child ignores the terminal's
Ctrl-C, is ended by `close`, and ends itself when this process is gone, however it went.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from validator.errors import TouchstoneError, Transient

P = ParamSpec("P")
T = TypeVar("T")
GRACE_SECONDS = 3.0


class WorkerDied(Transient):
    """A child process ended in the middle of its work."""


class WorkFailed(TouchstoneError):
    """The work itself raised an error in the child process."""


class ChildPool:
    """Runs functions in at most `size` spawned processes; they start with the first call."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._executor = self._new_executor()

    def _new_executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._size, mp_context=multiprocessing.get_context("spawn"), initializer=_live_with_parent
        )

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. WorkerDied if its process died, WorkFailed if it raised what is not ours."""
        executor = self._executor
        try:
            return await asyncio.wrap_future(executor.submit(function, *args, **kwargs))
        except BrokenProcessPool as error:
            if executor is self._executor:
                self._executor = self._new_executor()
            raise WorkerDied("a worker process died") from error
        except TouchstoneError:
            raise
        except Exception as error:  # boundary: foreign code ran in the child, and its errors become ours here
            raise WorkFailed(f"{type(error).__name__}: {error}") from error

    def shut_down(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def end_children() -> None:
    """End every child of this process, in the middle of its work if need be, and wait until it is gone."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(GRACE_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()


def _live_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this function only runs in a child

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
