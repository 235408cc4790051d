"""Results that several processes add to, one cell at a time, and that outlive every stop.

Rule kept: a cell is measured by one process only, and a process that dies gives it back: the operating system frees
the lock.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import describe_machine

LOCKS = Path(__file__).parents[1] / ".cache" / "cells"


class Ledger:
    """A file of results: `{"machine": ..., "cells": {name: cell}}`."""

    def __init__(self, path: Path, locks: Path = LOCKS) -> None:
        self._path = path
        self._locks = locks / path.stem

    def read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {"cells": {}}
        return content

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether the cell is ours to measure until the block ends; not if another process is measuring it."""
        with _locked(self._locks / f"{name.replace('/', '+')}.lock", wait=False) as is_ours:
            yield is_ours

    def store(self, name: str, cell: dict[str, Any]) -> None:
        """Add or replace one cell; what others have stored meanwhile stays."""
        with _locked(self._locks.with_suffix(".lock"), wait=True):
            content = self.read()
            content["machine"] = describe_machine()
            content["cells"][name] = cell
            unfinished = self._path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(content, indent=1) + "\n")
            unfinished.replace(self._path)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
