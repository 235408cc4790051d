"""Figures as people read them."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from validator.html.words import say_position, say_share
from validator.tournament.cells import Rate


def say_interval(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{say_share(low)} to {say_share(high)}"


def say_rate(rate: Rate) -> str:
    return f"{say_share(rate.value)}, {rate.count} of {rate.trials}, 95% interval {say_interval(rate)}"


def say_ether(amount: float) -> str:
    return f"{amount:+.2f}".replace("-", "\N{MINUS SIGN}")


def say_seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:,.1f} h"


def say_flops(exaflops: float) -> str:
    """With the usual prefix: 1 exaflop is 10^18 operations."""
    power = math.floor(math.log10(exaflops * 1e18) / 3) if exaflops > 0 else 0
    prefix = ("", "k", "M", "G", "T", "P", "E")[max(0, min(6, power))]
    return f"{exaflops * 1e18 / 1000 ** max(0, min(6, power)):.3g} {prefix}FLOP"


def say_ranges(numbers: Iterable[int]) -> str:
    """0 to 4, 7 for 0, 1, 2, 3, 4 and 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


FILTERS: dict[str, Callable[..., Any]] = {
    "share": say_share,
    "interval": say_interval,
    "rate": say_rate,
    "ether": say_ether,
    "seconds": say_seconds,
    "flops": say_flops,
    "ranges": say_ranges,
    "pc": say_position,
    "n": lambda number: f"{100 * number:.4g}",
}
"""Of the templates, under short names."""
