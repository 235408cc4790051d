"""Files that are there whole or not at all."""

import os
from pathlib import Path

from validator.errors import BadInput


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that its results could not be written: BadInput."""
    target = path if path.exists() else path.parent
    if path.is_dir() or not os.access(target, os.W_OK):
        raise BadInput(f"cannot write {path}")


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write under another name, wait for the disk, then rename, so that a crash leaves the old file or the new (K7).

    BadInput if the place cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error
