"""`python -m tests.e2e.command_server`: runs `touchstone` commands, each in a process of its own.

Each process is forked from this one, which has imported what the commands import: that takes seconds, and longer than
most of them. A request is a line of JSON on stdin, the answer another on stdout: the exit status.
"""

import importlib
import json
import os
import select
import signal
import sys
from typing import Any

IMPORTED = (
    "validator.audit.command",
    "validator.cli",
    "validator.customer.command",
    "validator.deployment.command",
    "validator.design.command",
    "validator.operator.run",
    "validator.simulation.command",
    "validator.tournament.command",
    "validator.verification.command",
)


def main() -> int:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            return _become(request)
        print(_end_of(process, request["timeout_s"]), flush=True)
    return 0


def _become(request: dict[str, Any]) -> int:
    from validator.cli import main as touchstone

    for target, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["output"], os.O_WRONLY),
        (2, request["errors"], os.O_WRONLY),
    ):
        os.dup2(os.open(path, flags), target)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["touchstone", *request["arguments"]]
    touchstone()
    return 0


def _end_of(process: int, timeout_s: float) -> int:
    """The process's exit status, once it has ended, or has been ended after this time."""
    if not select.select([os.pidfd_open(process)], [], [], timeout_s)[0]:
        os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
