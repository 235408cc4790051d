"""Files that are there whole or not at all."""

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from validator.errors import BadInput, DiskFull, Fatal, TouchstoneError, Transient
from validator.protocol.commitment import ModelFile

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

FREE_BYTES = 256 << 20
"""What a download leaves of a disk: the journal is on it."""


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that its results could not be written: BadInput."""
    target = path if path.exists() else path.parent
    if path.is_dir() or not os.access(target, os.W_OK):
        raise BadInput(f"cannot write {path}")


def write_whole(path: Path, content: str | bytes | Iterable[str], mode: int = 0o644) -> None:
    """Write under another name, wait for the disk, then rename, so that a crash leaves the old file or the new (K7).

    `content` may come in pieces, where it is too long to hold at once. DiskFull if there is no space, BadInput if the
    place cannot be written for another reason.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            for piece in (content,) if isinstance(content, str | bytes) else content:
                file.write(piece.encode() if isinstance(piece, str) else piece)
            file.flush()
            os.fsync(descriptor)
        _put_in_place(unfinished, path)
    except OSError as error:
        raise file_error("write", path, error) from error


def create_whole(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """As `write_whole`, but never over what is there already: BadInput then, and also if two try at once."""
    new = path.with_name(f".{path.name}.new")
    write_whole(new, content, mode)
    try:
        os.link(new, path)
    except FileExistsError:
        raise BadInput(f"{path} is there already, and is never overwritten: move it away, or name another") from None
    except OSError as error:
        raise file_error("write", path, error) from error
    finally:
        new.unlink()


@contextmanager
def locked(lock: Path, refusal: str) -> Iterator[None]:
    """Alone among all processes that use this lock file; BadInput with the refusal if another has it."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise file_error("use", lock, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(refusal) from None
        yield
    finally:
        os.close(descriptor)


def describe_files(directory: Path, names: Sequence[str]) -> tuple[ModelFile, ...]:
    """Size and SHA-256 of files in a directory; OSError where one is missing."""
    return tuple(_describe(directory, name) for name in names)


def _describe(directory: Path, name: str) -> ModelFile:
    with (directory / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return ModelFile(name, file.tell(), digest)


class PartialFile:
    """A file that arrives in parts, under another name until it is whole; what a crash left of it can be gone on with.

    Space that runs out is DiskFull, any other failure of the disk Fatal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.unfinished")
        self.size_bytes = self._unfinished.stat().st_size if self._unfinished.is_file() else 0

    @property
    def is_whole(self) -> bool:
        """Whether it has been finished."""
        return self._path.is_file()

    def check_space(self, cap_bytes: int) -> None:
        """DiskFull unless the file may grow to `cap_bytes` and leave the disk something (M15)."""
        missing = cap_bytes - self.size_bytes + FREE_BYTES - shutil.disk_usage(self._path.parent).free
        if missing > 0:
            raise DiskFull(f"{self._path.parent}: {missing} bytes of space are missing for {self._path.name}")

    def restart(self) -> None:
        """Throw away what is there."""
        self._unfinished.unlink(missing_ok=True)
        self.size_bytes = 0

    async def append(self, chunk: bytes) -> None:
        await asyncio.to_thread(self._append, chunk)
        self.size_bytes += len(chunk)

    async def finish(self) -> None:
        """Wait for the disk, then give the file its name; from then on it is only read (M12)."""
        await asyncio.to_thread(self._finish)

    def _append(self, chunk: bytes) -> None:
        try:
            with self._unfinished.open("ab", buffering=0) as file:
                if file.write(chunk) != len(chunk):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise _disk_error(self._path, error) from error

    def _finish(self) -> None:
        try:
            file = os.open(self._unfinished, os.O_RDONLY | os.O_CREAT, 0o400)
            try:
                os.fchmod(file, 0o400)
                os.fsync(file)
            finally:
                os.close(file)
            _put_in_place(self._unfinished, self._path)
        except OSError as error:
            raise _disk_error(self._path, error) from error


def _put_in_place(unfinished: Path, path: Path) -> None:
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def file_error(action: str, path: Path, error: OSError) -> TouchstoneError:
    """What it means that a file cannot be read or written: what passes when there is room again, or BadInput (P15)."""
    message = f"cannot {action} {path}: {error.strerror}"
    if error.errno in NO_SPACE:
        return DiskFull(message)
    return Transient(message) if error.errno in NO_DESCRIPTORS else BadInput(message)


def _disk_error(path: Path, error: OSError) -> TouchstoneError:
    found = file_error("write", path, error)
    return Fatal(str(found)) if isinstance(found, BadInput) else found
