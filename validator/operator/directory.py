"""Whether a directory can hold a validator's state (K5): on a disk of this machine, its owner's alone, with space."""

import os
import re
import shutil
import stat
from pathlib import Path

from validator.errors import BadInput
from validator.files import FREE_BYTES
from validator.reserve import RESERVE_BYTES

REMOTE_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3", "smbfs"}
)
"""Their locks and syncs do not keep what they promise."""
PASSING_FILE_SYSTEMS = frozenset({"overlay", "ramfs", "tmpfs"})
"""They end with the machine or the container."""
LEAST_FREE_BYTES = FREE_BYTES + RESERVE_BYTES


def check_directory(directory: Path, *, is_passing_allowed: bool) -> str:
    """What is there, in words; BadInput with what keeps state from being there. Nothing is created."""
    try:
        existing = next(path for path in (directory, *directory.parents) if path.exists())
        if not existing.is_dir():
            raise BadInput(f"{existing} is not a directory")
        if existing == directory:
            _check_owner(directory)
        if os.statvfs(existing).f_flag & os.ST_RDONLY:
            raise BadInput(f"{existing} is on a file system that is mounted read-only")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise BadInput(f"{existing} cannot be written to by this user")
        kind, free_bytes = file_system(existing), shutil.disk_usage(existing).free
    except OSError as error:
        raise BadInput(f"cannot use {directory}: {error.strerror}") from error
    if kind in REMOTE_FILE_SYSTEMS:
        raise BadInput(f"{directory} is on {kind}, a file system of another machine: take a local disk")
    if kind in PASSING_FILE_SYSTEMS and not is_passing_allowed:
        raise BadInput(f"{directory} is on {kind}, which ends with the machine or container: take a disk or a volume")
    if free_bytes < LEAST_FREE_BYTES:
        raise BadInput(f"{directory} has {free_bytes >> 20} MiB left, and needs {LEAST_FREE_BYTES >> 20}: free some")
    return f"{directory}: {free_bytes >> 30} GiB free on {kind}" + ("" if existing == directory else ", to be created")


def _check_owner(directory: Path) -> None:
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise BadInput(f"{directory} belongs to another user: run as its owner, or chown it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise BadInput(f"{directory} is open to other users: chmod 700 it")


def file_system(path: Path) -> str:
    """The kind of file system that `path` is on, as mountinfo (proc(5)) names it."""
    best, kind, real = -1, "unknown", Path(os.path.realpath(path))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mounted, _, source = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), mounted.split()[4]))
        # Of two mounts at one place the later one is seen.
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), source.split()[0]
    return kind
