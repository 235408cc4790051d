"""Runs the installed `touchstone` command as a stranger would, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOUCHSTONE = Path(sys.executable).with_name("touchstone")
TIMEOUT_S = 500


def run_touchstone(*arguments: str | Path, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOUCHSTONE, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def simulate(directory: Path, *arguments: str | Path, status: int | None = 0) -> dict[str, Any]:
    """Run `touchstone simulate` with its files under `directory`; its JSON. `status` None: whoever was paid."""
    results = directory / "results.json"
    finished = run_touchstone("simulate", "--directory", directory / "run", "--json", results, *arguments)
    assert finished.returncode in ({0, 1} if status is None else {status}), finished.stdout + finished.stderr
    report: dict[str, Any] = json.loads(results.read_text())
    return report


def by_strategy(report: dict[str, Any], strategy: str) -> list[dict[str, Any]]:
    return [miner for miner in report["miners"] if miner["strategy"] == strategy]
