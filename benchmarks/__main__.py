"""`python -m benchmarks [--fresh] [--page] [PREFIX ...]`: measure what is not yet measured, then rewrite the figures.

Results are kept after every cell, so a campaign may be stopped at any time, and several processes may work at one.
Without a prefix the README's cells are measured; `science/` names those of docs/results.md. `--fresh` measures the
named cells again, `--page` measures none.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks import audit, daemon, memory, probing, repeats, science, tournament
from benchmarks.campaigns import Cell, cells
from benchmarks.ledger import Ledger
from benchmarks.science.campaign import cells as science_cells
from benchmarks.science.page import read_results, rewrite_page
from benchmarks.tables import rewrite_readme

RESULTS = Path(__file__).with_name("results.json")
DESCRIBE = {
    "tournament": tournament.describe,
    "audit": audit.describe,
    "daemon": daemon.describe,
    "restarts": daemon.describe,
    "rates": repeats.describe,
    "probes": probing.describe,
    "memory": memory.describe,
}
"""By what a cell is of."""


def main(arguments: list[str]) -> None:
    flags = {argument for argument in arguments if argument.startswith("--")}
    prefixes = tuple(argument for argument in arguments if argument not in flags)
    if unknown := flags - {"--fresh", "--page"}:
        sys.exit(f"unknown option {unknown.pop()}\n{__doc__}")
    try:
        if "--page" not in flags:
            _measure(prefixes, is_fresh="--fresh" in flags)
    finally:  # after Ctrl-C too
        rewrite_readme(Path("README.md"), Ledger(RESULTS).read(), read_results())
        rewrite_page(Path("docs"))


def _measure(prefixes: tuple[str, ...], *, is_fresh: bool) -> None:
    of_science = tuple(prefix for prefix in prefixes if prefix.startswith("science"))
    of_readme = tuple(prefix for prefix in prefixes if prefix not in of_science) if prefixes else ("",)
    for path, campaign, wanted in ((RESULTS, cells(), of_readme), (science.RESULTS, science_cells(), of_science)):
        for name, measure in campaign:
            if name.startswith(wanted):
                _run(Ledger(path), name, measure, is_fresh=is_fresh)


def _run(ledger: Ledger, name: str, measure: Cell, *, is_fresh: bool) -> None:
    with ledger.claim(name) as is_ours:
        if not is_ours or (name in ledger.read()["cells"] and not is_fresh):
            return
        print(f"{name} ...", end=" ", flush=True)
        cell = measure()
        if "miners" in cell:
            cell = _without_text(cell)
        ledger.store(name, cell)
        if name.startswith("science"):
            print(science.describe(cell), flush=True)
        else:
            print(_summary(cell), flush=True)


def _summary(cell: dict[str, Any]) -> str:
    for kind, describe in DESCRIBE.items():
        if kind in cell:
            return describe(cell)
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
