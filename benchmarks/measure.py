"""Runs `touchstone simulate` as a stranger would and measures it from outside: seconds, memory, and what it found."""

import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.stages import measure_stages

TOUCHSTONE = Path(sys.executable).with_name("touchstone")
SAMPLE_S = 0.5


def run_round(*arguments: str, home: Path | None = None) -> dict[str, Any]:
    """One simulation: its own JSON, with `wall_s`, `stages`, `peak_pss_mib` (of the process tree) and `exit_status`.

    `home` keeps the run's files; without it they are gone when this returns.
    """
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.json"
        directory = home or Path(scratch) / "run"
        options = ["--quiet", "--json", str(results), "--directory", str(directory), *arguments]
        started = time.monotonic()
        process = subprocess.Popen([TOUCHSTONE, "simulate", *options], stderr=subprocess.PIPE, text=True)
        peak_bytes = wait_for_peak_pss(process)
        wall_s = time.monotonic() - started
        if process.returncode not in (0, 1):
            errors = process.stderr.read() if process.stderr else ""
            raise RuntimeError(f"touchstone simulate {' '.join(arguments)}: {errors.strip()}")
        report: dict[str, Any] = json.loads(results.read_text())
        stages = measure_stages(directory, report, wall_s)
    measured = {"wall_s": wall_s, "peak_pss_mib": peak_bytes / 2**20, "exit_status": process.returncode}
    return report | measured | {"stages": stages}


def wait_for_peak_pss(process: subprocess.Popen[Any], sample_s: float = SAMPLE_S) -> int:
    """The most bytes that the process and its children have had together, looked at now and then until it ends."""
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, _summed_pss_bytes(process.pid))
        time.sleep(sample_s)
    return peak_bytes


def _summed_pss_bytes(pid: int) -> int:
    """Proportional set size of a process and all its children: shared pages are counted once."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def pss_mib(pid: int | None = None) -> float:
    """Of one process without its children, this one by default."""
    return round(psutil.Process(pid).memory_full_info().pss / 2**20, 1)


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    names = ("torch", "transformers", "web3", "py-evm", "vyper", "scipy", "aiohttp", "coincurve", "sqlalchemy")
    return {
        "cores": psutil.cpu_count(),
        "processor": model,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in names},
    }
