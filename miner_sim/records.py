"""Append-only JSON lines in a miner's home: whatever it may never contradict, even after a restart.

Rule kept: a record is on disk before anybody is told of it, and a last line torn by a crash was never told.
"""

import json
import os
from pathlib import Path
from typing import Any


class JsonLines:
    """A file of JSON objects, one per line, that only grows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[dict[str, Any]]:
        """All complete records; a torn last line is cut off the file."""
        if not self._path.exists():
            return []
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            os.truncate(self._path, len(whole))
        return [json.loads(line) for line in whole.splitlines()]

    def append(self, record: dict[str, Any]) -> None:
        """Add one record and wait until the disk has it."""
        with self._path.open("ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
