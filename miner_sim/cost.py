"""What one job has cost its miner so far, kept as `cost.json` in the job's directory.

Rule kept: what was begun and never finished counts as well, as far as it was reported.
"""

import json
from collections.abc import Callable
from pathlib import Path

from validator.files import write_whole

COST_FILE = "cost.json"
KINDS = ("training_cpu_s", "training_flops", "selection_cpu_s", "inference_cpu_s", "inference_flops")
"""Processor seconds of a child, importing its libraries left out, and floating-point operations: for each token that is
read or written 2 of each parameter, for one that is trained on those of `TrainingRun.flops` (Kaplan et al. 2020).
"""


class CostBook:
    """Adds up over restarts; without a directory it is forgotten with the object."""

    def __init__(self, directory: Path | None = None) -> None:
        self._path = directory / COST_FILE if directory else None
        self._sums: dict[str, float] = dict.fromkeys(KINDS, 0)
        if self._path and self._path.exists():
            self._sums |= json.loads(self._path.read_bytes())
        self.add()

    def add(self, **amounts: float) -> None:
        """Count these amounts, each under one of `KINDS`."""
        for kind, amount in amounts.items():
            self._sums[kind] = round(self._sums[kind] + amount, 6)
        if self._path:
            write_whole(self._path, json.dumps(self._sums))

    def follow_training(self, events: Path) -> Callable[[], None]:
        """To be called before a training run that reports to this file; the result, when the run is over or given up.

        Counts what the last line says that came between the two.
        """
        begin = events.stat().st_size if events.exists() else 0

        def end() -> None:
            written = events.read_bytes()[begin:] if events.exists() else b""
            lines = written[: written.rfind(b"\n") + 1].splitlines()
            if lines:
                last = json.loads(lines[-1])
                self.add(training_cpu_s=last["cpu_s"], training_flops=last["flops"])

        return end
