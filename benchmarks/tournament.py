"""Whether two processes play a tournament faster than one: the same rounds into new stores, in alternating pairs."""

import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import TOUCHSTONE

PAIRS = 5
ROUNDS = 4
GRID = f"""
name = "pairs"
about = "Rounds in which something is trained."
[settings]
rows = 300
[schemes.canary]
scheme = "canary"
[[parts]]
strategies = ["honest", "base"]
seeds = {ROUNDS}
"""


def measure_processes(pairs: int = PAIRS) -> dict[str, Any]:
    """Seconds of each run, by processes; who goes first changes from pair to pair."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as scratch:
        grid = Path(scratch) / "grid.toml"
        grid.write_text(GRID)
        for pair in range(pairs):
            for processes in (1, 2) if pair % 2 == 0 else (2, 1):
                store = Path(scratch) / f"{pair}-{processes}.sqlite"
                seconds[processes].append(_play(grid, store, processes))
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "tournament": {
            "rounds": ROUNDS,
            "seconds": {str(processes): [round(s, 1) for s in found] for processes, found in seconds.items()},
            "ratios": [round(ratio, 3) for ratio in ratios],
            "median_ratio": round(median(ratios), 3),
        }
    }


def _play(grid: Path, store: Path, processes: int) -> float:
    command: list[str | Path] = [TOUCHSTONE, "tournament", "run", grid, "--store", store, "--processes", str(processes)]
    started = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"touchstone tournament run: {ended.stdout}{ended.stderr}".strip())
    return time.monotonic() - started


def describe(cell: dict[str, Any]) -> str:
    """A line for whoever waits for the measurement."""
    figures = cell["tournament"]
    return f"{figures['median_ratio']:.2f} times as fast with 2 processes: {figures['ratios']}"
