"""`python -m benchmarks [--fresh] [PREFIX ...]`: measure what is not yet measured, then rewrite the README's figures.

Results are kept in benchmarks/results.json after every cell; `--fresh` measures the named cells again.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import daemon
from benchmarks.campaigns import cells
from benchmarks.measure import describe_machine
from benchmarks.tables import rewrite_readme

RESULTS = Path(__file__).with_name("results.json")


def main(arguments: list[str]) -> None:
    is_fresh = "--fresh" in arguments
    prefixes = tuple(argument for argument in arguments if argument != "--fresh") or ("",)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cells": {}}
    for name, measure in cells():
        if not name.startswith(prefixes) or (name in results["cells"] and not is_fresh):
            continue
        print(f"{name} ...", end=" ", flush=True)
        cell = measure()
        if "miners" in cell:
            cell = _without_text(cell)
        results["machine"] = describe_machine()
        results["cells"][name] = cell
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(_summary(cell), flush=True)
    rewrite_readme(Path("README.md"), results)


def _summary(cell: dict[str, Any]) -> str:
    if "gas" not in cell and "miners" not in cell:
        return daemon.describe(cell)
    if "miners" not in cell:
        return ", ".join(f"{name} {gas}" for name, gas in cell["gas"].items())
    figures = ", ".join(f"{miner['strategy']} {miner['hits']}/{miner['n']}" for miner in cell["miners"])
    return f"{cell['wall_s']:.0f} s, {cell['peak_pss_mib']:.0f} MiB: {figures}"


def _without_text(cell: dict[str, Any]) -> dict[str, Any]:
    """Words of a dataset stay out of the project, and so do keys and hashes that say nothing a second time."""
    kept = ("strategy", "hits", "n", "p_value", "verdict", "marks_trained_on", "gas", "faults")
    miners = [{key: miner[key] for key in kept} for miner in cell["miners"]]
    return {key: value for key, value in cell.items() if key != "marks"} | {"miners": miners}


if __name__ == "__main__":
    main(sys.argv[1:])
