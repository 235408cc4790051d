"""Disk space that is set aside, so that a full disk stops new tasks and none that is open (K1)."""

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 32 << 20
"""A task writes some hundred kilobytes, its bundle included."""


class DiskReserve:
    """A file that takes up space until it is needed."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self.is_held = False

    def hold(self) -> bool:
        """Set the space aside, if there is enough; whether it is. While it is not, no new task may begin."""
        if self.is_held:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, self._size_bytes)
            finally:
                os.close(file)
        except OSError:
            self.release()
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Give the space to what is running."""
        self.is_held = False
        with suppress(FileNotFoundError):
            self._path.unlink()
