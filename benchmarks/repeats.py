"""Work that takes a second, done again and again: how much of it a second, and how that spreads."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

REPEATS = 5


def measure_rates(works: Mapping[str, Callable[[], int]], repeats: int = REPEATS) -> dict[str, Any]:
    """`{"rates": {name: [units a second, one entry a repetition]}}`; each work returns how many units it has done.

    They take turns, so that the ratio of two of them is of one and the same state of the machine. The first turn does
    not count: it fills caches.
    """
    rates: dict[str, list[float]] = {name: [] for name in works}
    for repetition in range(repeats + 1):
        for name, work in works.items():
            began_s = time.perf_counter()
            units = work()
            seconds = time.perf_counter() - began_s
            if repetition > 0:
                rates[name].append(round(units / seconds, 1))
    return {"rates": rates}


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median and the range, as every table has them."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def describe(cell: dict[str, Any]) -> str:
    """A line for whoever waits for the measurement."""
    return ", ".join(f"{name} {median(per_s):,.0f}/s" for name, per_s in cell["rates"].items())
