"""What a tournament showed, for a terminal."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from validator.tournament.cells import Cell, Estimate, Prices, Rate
from validator.tournament.statistics import Statistics
from validator.tournament.store import RoundRecord

SECONDS_PER_HOUR = 3600
ALPHA = 0.05


def print_tournament(console: Console, rounds: Sequence[RoundRecord], statistics: Statistics) -> None:
    """A table for each scheme and set of parameters, the cheapest cheat that pays, and what failed."""
    for scheme, parameters in statistics.settings:
        _print_setting(console, statistics, scheme, parameters)
    if statistics.cells:
        _print_notes(console, statistics)
    _print_rounds(console, rounds)


def _print_setting(console: Console, statistics: Statistics, scheme: str, parameters: str) -> None:
    table = Table(title=f"{scheme}, {parameters}", box=SIMPLE_HEAD, collapse_padding=True, show_edge=False)
    table.add_column("strategy", overflow="fold", min_width=16)
    for heading in ("n", "% paid", "slashed", "hits", "CPU s", "profit"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in statistics.under(scheme, parameters):
        table.add_row(
            _StrategyName(cell.strategy),
            str(len(cell.trials)),
            _describe_rate(cell.paid),
            str(cell.slashed.count),
            f"{cell.mean_hits:.1f}",
            "-" if cell.mean_cpu_hours is None else f"{cell.mean_cpu_hours * SECONDS_PER_HOUR:.1f}",
            _describe_estimate(cell.profit),
        )
    console.print(table)
    console.print(_describe_cheapest(statistics, scheme, parameters), soft_wrap=True, markup=False)


@dataclass(frozen=True, slots=True)
class _StrategyName:
    """Where it is too long for its column, it breaks between its words, which rich breaks at spaces alone."""

    name: str

    @property
    def words(self) -> list[str]:
        return re.split(r"(?<=[-:])", self.name)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, self.words)), len(self.name))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for word in self.words:
            if lines[-1] and len(lines[-1] + word) > options.max_width:
                lines.append("")
            lines[-1] += word
        yield Text("\n".join(lines))


def _describe_cheapest(statistics: Statistics, scheme: str, parameters: str) -> str:
    paying = statistics.profitable_cheats(scheme, parameters)
    honest = statistics.honest(scheme, parameters)
    if all(cell.profit is None for cell in statistics.under(scheme, parameters)):
        return "What the work cost was not measured, so nothing can be said of profits."
    if not paying:
        than = "than honest work" if honest and honest.profit and honest.profit.mean > 0 else "than nothing"
        return f"No cheat earned more {than}."
    cheapest = paying[0]
    more = len(paying) - 1
    others = f" {more} more {'pays' if more == 1 else 'pay'}." if more else ""
    return f"Cheating pays: {cheapest.strategy}, {_describe_earnings(cheapest)}.{others}"


def _describe_earnings(cell: Cell) -> str:
    earned = f"paid {cell.paid.count} of {cell.paid.trials} times, profit {_describe_estimate(cell.profit)} ether"
    price = cell.break_even_ether_per_cpu_hour
    if price is None:
        return earned
    return f"{earned}, {'at any price' if math.isinf(price) else f'breaks even at {price:.3g} ether per CPU hour'}"


def _print_notes(console: Console, statistics: Statistics) -> None:
    comparisons = statistics.comparisons
    if comparisons:
        shown = sum(comparison.adjusted_p_value < ALPHA for comparison in comparisons)
        console.print(
            f"Paid less often than honest miners, shown for {shown} of {len(comparisons)} cheats "
            "(Fisher's exact test, Holm, 5% for all together).",
            soft_wrap=True,
        )
    console.print(
        "Intervals are Clopper and Pearson's, 95%. Profit is in ether per miner, without gas, at "
        f"{_describe_prices(statistics.prices)}.",
        soft_wrap=True,
    )


def _print_rounds(console: Console, rounds: Sequence[RoundRecord]) -> None:
    done = [record for record in rounds if record.is_done]
    hours = sum(record.wall_s or 0.0 for record in done) / SECONDS_PER_HOUR
    console.print(
        f"{len(done)} round{'' if len(done) == 1 else 's'}, {hours:.3g} hours if one follows another.", soft_wrap=True
    )
    for versions, count in Counter(_describe_versions(record) for record in done).most_common():
        console.print(f"  {count} with {versions}", soft_wrap=True, markup=False)
    for record in rounds:
        if not record.is_done:
            times = f" ({record.attempts} times)" if record.attempts > 1 else ""
            console.print(f"  failed{times}: {record.round}: {record.reason}", soft_wrap=True, markup=False)


def _describe_versions(record: RoundRecord) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


def _describe_rate(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{rate.value * 100:.0f} ({low * 100:.0f}-{high * 100:.0f})"


def _describe_estimate(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.mean:+.2f} ({estimate.low:+.2f}, {estimate.high:+.2f})"


def _describe_prices(prices: Prices) -> str:
    parts = [
        f"{price:.3g} ether per {unit}"
        for price, unit in ((prices.ether_per_cpu_hour, "CPU hour"), (prices.ether_per_exaflop, "exaFLOP"))
        if price
    ]
    return " and ".join(parts) or "no price for compute"
