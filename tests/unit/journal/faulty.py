"""A process that lives through the scenario again and again, and meets another fault each time.

    python -m tests.unit.journal.faulty FAULT PLACE [--only-open]

For every number n on its standard input a child opens the journal at PLACE, makes the calls of the scenario one after
the other, and meets the n-th fault. Lines of JSON tell what it saw, the last one of each child how it ended.

kill        SIGKILL in front of the n-th statement or commit
full        a file system with n free pages is mounted over the directory of PLACE: ENOSPC; later there is space again
file size   no file may be larger than n pages: EFBIG, which SQLite takes for a failing disk, and torn writes
sync        fsync and fdatasync fail from the n-th call of the scenario on: EIO
"""

import ctypes
import errno
import itertools
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.unit.journal.scenario import CALLS, IDENTITY, KEY, digest
from validator.errors import BadInput, DiskFull, Fatal
from validator.journal import Journal

PAGE_BYTES = 4096
PLENTY_BYTES = 2**24
SYNCS = {"x86_64": (74, 75), "aarch64": (82, 83)}[platform.machine()]
"""The numbers of fsync and fdatasync."""

libc = ctypes.CDLL(None, use_errno=True)


def kill_at(n: int) -> None:
    """Event hooks of SQLAlchemy count what goes to the database, on whatever connection."""
    count = itertools.count(1)

    def step(*_arguments: Any) -> None:
        if next(count) == n:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    sa.event.listen(sa.Engine, "commit", step)


def mount(directory: Path, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(directory)], check=True)


def fail_syncs() -> None:
    """A seccomp filter (Linux, seccomp(2)): of the system calls, these two return EIO and are not made."""
    load, jump_if_equal, leave = 0x20, 0x15, 0x06
    program = [
        (load, 0, 0, 0),
        (jump_if_equal, 1, 0, SYNCS[0]),
        (jump_if_equal, 0, 1, SYNCS[1]),
        (leave, 0, 0, 0x00050000 | errno.EIO),
        (leave, 0, 0, 0x7FFF0000),
    ]

    class Instruction(ctypes.Structure):
        _fields_ = (("code", ctypes.c_uint16), ("t", ctypes.c_uint8), ("f", ctypes.c_uint8), ("k", ctypes.c_uint32))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction)))

    instructions = (Instruction * len(program))(*(Instruction(*line) for line in program))
    set_no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    assert libc.prctl(set_no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, filter_mode, ctypes.byref(Program(len(program), instructions)), 0, 0) == 0


class Life:
    """One child's."""

    def __init__(self, fault: str, place: str, n: int, calls: Sequence[Callable[[Journal], Any]]) -> None:
        self.fault, self.n, self.calls = fault, n, calls
        self.place = place if "://" in place else Path(place)

    def tell(self, **what: Any) -> None:
        os.write(1, json.dumps(what).encode() + b"\n")

    def begin(self) -> None:
        if self.fault == "kill":
            kill_at(self.n)
        elif self.fault == "full":
            mount(self.place.parent, f"size={self.n * PAGE_BYTES}")
        elif self.fault == "file size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.n * PAGE_BYTES, resource.RLIM_INFINITY))

    def relieve(self) -> None:
        """There is space again; a disk that failed works again, which is no reason to trust it."""
        if self.fault == "full":
            mount(self.place.parent, "remount", f"size={PLENTY_BYTES}")
        elif self.fault == "file size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def run(self) -> None:
        self.begin()
        journal = self.open()
        for number, call in enumerate(self.calls, 1):
            if self.fault == "sync" and number == self.n:
                fail_syncs()
            try:
                call(journal)
            except (DiskFull, Fatal) as failure:
                self.tell(failed=number, error=str(failure))
                self.relieve()
                if self.fault == "full":
                    self.tell(seen=digest(journal))
                try:
                    call(journal)
                except (DiskFull, Fatal) as again:
                    self.tell(again=str(again))
                    return
            self.tell(acked=number)
        self.tell(seen=digest(journal))

    def open(self) -> Journal:
        try:
            journal = Journal(self.place, KEY, IDENTITY)
        except BadInput as refusal:
            self.tell(failed=0, error=str(refusal))
            self.relieve()
            journal = Journal(self.place, KEY, IDENTITY)
        self.tell(acked=0)
        return journal


def main() -> None:
    fault, place, *options = sys.argv[1:]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            Life(fault, place, int(line), [] if options else CALLS).run()
            os._exit(0)  # Without a close, as after a crash.
        _pid, status = os.waitpid(child, 0)
        if fault == "full":
            subprocess.run(["umount", "--lazy", str(Path(place).parent)], check=False)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
