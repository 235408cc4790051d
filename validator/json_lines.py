"""Append-only JSON lines: whatever may never be contradicted or asked for twice, even after a restart.

Rule kept: a record is on disk before anybody is told of it, and a last line torn by a crash was never told.
"""

import json
import os
from pathlib import Path
from typing import Any


class JsonLines:
    """A file of JSON objects, one per line, that only grows; a new one gets the permissions of `mode`."""

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        self._path = path
        self._mode = mode

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
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, self._mode)
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
