"""Runs the `touchstone` command as a stranger would, in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from types import MappingProxyType
from typing import Any

TOUCHSTONE = Path(sys.executable).with_name("touchstone")
TIMEOUT_S = 500
ROOT = Path(__file__).parents[2]
CHEAP_SPEC = {"epochs": 8, "learning_rate": 6e-3, "batch_size": 8, "max_length": 32}
"""The cheapest training that pays, of those that were tried: 13 processor seconds, against 29 of the default."""
CHEAPEST_TRAINING = [part for key, value in CHEAP_SPEC.items() for part in (f"--{key.replace('_', '-')}", str(value))]

_idle: list[subprocess.Popen[str]] = []
"""Servers of commands that run none now."""


def run_touchstone(
    *arguments: str | Path, timeout_s: float = TIMEOUT_S, variables: Mapping[str, str] = MappingProxyType({})
) -> CompletedProcess[str]:
    """What the installed command would do here, without a terminal: its status (-9 after `timeout_s`), what it wrote.

    `variables` are added to this process's environment.
    """
    words = [str(argument) for argument in arguments]
    server = _idle.pop() if _idle else _start_server()
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        request = {
            "arguments": words,
            "directory": str(Path.cwd()),
            "environment": os.environ | variables,
            "output": output.name,
            "errors": errors.name,
            "timeout_s": timeout_s,
        }
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        finished = CompletedProcess(words, int(server.stdout.readline()), output.read(), errors.read())
    _idle.append(server)
    return finished


def _start_server() -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.e2e.command_server"]
    return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT)


def simulate(directory: Path, *arguments: str | Path, status: int | None = 0) -> dict[str, Any]:
    """Run `touchstone simulate` with its files under `directory`; its JSON. `status` None: whoever was paid."""
    results = directory / "results.json"
    finished = run_touchstone("simulate", "--directory", directory / "run", "--json", results, *arguments)
    assert finished.returncode in ({0, 1} if status is None else {status}), finished.stdout + finished.stderr
    report: dict[str, Any] = json.loads(results.read_text())
    return report


def by_strategy(report: dict[str, Any], strategy: str) -> list[dict[str, Any]]:
    return [miner for miner in report["miners"] if miner["strategy"] == strategy]
