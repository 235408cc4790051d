"""What the page shows, gathered from a store: statistics, and what only the rounds' own reports know."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from validator.errors import BadInput
from validator.tournament.cells import Cell, Rate
from validator.tournament.rounds import Result
from validator.tournament.statistics import DEFAULT_HONEST_COST_SHARE, MARGIN_SHARE, Roc, Statistics, compute_statistics
from validator.tournament.store import RoundRecord, Store

FLAGGED = "flagged:"
"""`flagged:DETECTOR[,F]` trains on nothing but the share F of the rows that a detector takes for marked most of all."""
FLAGGED_SHARE = 0.5
"""Without F."""
UNNAMED = "default"
"""Parameters of a grid that varies none."""
MOST_CURVES = 4
"""That have a colour."""


@dataclass(frozen=True, slots=True)
class Point:
    """One miner: what it trained on, and what that brought it."""

    strategy: str
    verdict: str
    trained: float
    """Share of the marks, by the workshop's own note."""
    hit: float
    """Share of the marks."""


@dataclass(frozen=True)
class Setting:
    """One scheme with one set of parameters."""

    scheme: str
    parameters: str
    cells: tuple[Cell, ...]
    rocs: tuple[Roc, ...]
    """The hardest to tell apart first."""
    points: tuple[Point, ...]
    cheapest_cheat: Cell | None
    settings: dict[str, Any]
    """What the grid asked for."""
    sample: dict[str, Any]
    """Report of one of its rounds: data, rows and spec are the same in all."""

    @property
    def name(self) -> str:
        return self.scheme if self.parameters == UNNAMED else f"{self.scheme}, {self.parameters}"

    @property
    def honest(self) -> Cell | None:
        return next((cell for cell in self.cells if cell.is_honest), None)

    @property
    def cheats(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.is_cheat)

    @property
    def cheats_paid(self) -> Rate | None:
        return add_up(cell.paid for cell in self.cheats)

    @property
    def by_profit(self) -> list[Cell]:
        """Honest first, then what earns most; unknown profits last."""
        return sorted(self.cells, key=lambda cell: (not cell.is_honest, -cell.profit.mean if cell.profit else math.inf))

    @property
    def curves(self) -> dict[str, list[Roc]]:
        """By score: hits, and the trained share where weights were judged."""
        return {score: [roc for roc in self.rocs if roc.score == score] for score in {roc.score for roc in self.rocs}}

    @property
    def trials(self) -> set[int]:
        """Of its strategies, which need not all have as many."""
        return {len(cell.trials) for cell in self.cells}

    @property
    def mean_points(self) -> list[tuple[str, float, float, int]]:
        """Strategy, mean share of marks trained on, mean share hit, miners."""
        found = []
        for strategy in dict.fromkeys(point.strategy for point in self.points):
            own = [point for point in self.points if point.strategy == strategy]
            trained, hit = sum(point.trained for point in own), sum(point.hit for point in own)
            found.append((strategy, trained / len(own), hit / len(own), len(own)))
        return sorted(found, key=lambda row: (-row[1], row[0]))

    @property
    def recalls(self) -> dict[str, float]:
        """By detector, and F: the mean share of the marks among the rows that it flagged."""
        return {
            strategy.removeprefix(FLAGGED): trained
            for strategy, trained, _hit, _miners in self.mean_points
            if strategy.startswith(FLAGGED)
        }


@dataclass(frozen=True)
class Contents:
    """The whole page."""

    store_name: str
    rounds: tuple[RoundRecord, ...]
    statistics: Statistics
    settings: tuple[Setting, ...]

    @cached_property
    def done(self) -> list[RoundRecord]:
        return [record for record in self.rounds if record.is_done]

    @property
    def failed(self) -> list[RoundRecord]:
        return [record for record in self.rounds if not record.is_done]

    @property
    def strategies(self) -> list[str]:
        """Honest first, then as they come in the first setting that has them."""
        return list(dict.fromkeys(cell.strategy for setting in self.settings for cell in setting.cells))

    def cell(self, setting: Setting, strategy: str) -> Cell | None:
        return next((cell for cell in setting.cells if cell.strategy == strategy), None)

    def not_paid(self, cell: Cell) -> Rate:
        """For a cheat this is detection, for an honest miner an error."""
        return Rate(cell.paid.trials - cell.paid.count, cell.paid.trials)

    @property
    def honest_paid(self) -> Rate | None:
        return add_up(setting.honest.paid for setting in self.settings if setting.honest)

    @property
    def honest_slashed(self) -> Rate | None:
        return add_up(setting.honest.slashed for setting in self.settings if setting.honest)

    @property
    def cheats_paid(self) -> Rate | None:
        return add_up(cell.paid for setting in self.settings for cell in setting.cheats)

    @property
    def detectors(self) -> dict[str, float]:
        """Each with the share of the rows that it flags, which is that of the marks that chance would find."""
        names = sorted({detector for setting in self.settings for detector in setting.recalls})
        return {name: float(share) if (share := name.partition(",")[2]) else FLAGGED_SHARE for name in names}

    @property
    def full_price(self) -> float:
        """Ether per hour of processor time at which honest work costs its whole reward; 0 if nobody measured it."""
        return self.statistics.prices.ether_per_cpu_hour / DEFAULT_HONEST_COST_SHARE

    @property
    def cost_share(self) -> float:
        return DEFAULT_HONEST_COST_SHARE

    @property
    def reward(self) -> float:
        """In ether; 1 where nobody won anything, so that there is a scale."""
        return max((cell.stakes.reward_ether for cell in self.statistics.cells), default=0.0) or 1.0

    @property
    def margin(self) -> float:
        """In ether, above what honest work earns: what a cheat must earn to be said to pay."""
        return MARGIN_SHARE * self.reward

    @property
    def axis(self) -> tuple[float, float]:
        """Ether at the ends of every bar of profit: a lost bond and wasted work, and a reward for nothing."""
        bond = max(cell.stakes.bond_ether for cell in self.statistics.cells)
        return -(bond + self.reward), self.reward

    def at(self, ether: float) -> float:
        """Where on that axis, from 0 to 1."""
        low, high = self.axis
        return min(1.0, max(0.0, (ether - low) / (high - low)))

    @property
    def longest_hours(self) -> float:
        return max((cell.mean_cpu_hours or 0.0 for cell in self.statistics.cells), default=0.0)

    @property
    def seeds(self) -> set[int]:
        return {record.round.seed for record in self.done}

    @property
    def machines(self) -> list[dict[str, str]]:
        return list({tuple(sorted(record.versions.items())): record.versions for record in self.done}.values())

    @property
    def wall_s(self) -> float:
        return sum(record.wall_s or 0.0 for record in self.done)

    @property
    def days(self) -> list[str]:
        """On which rounds ended, in UTC, in order."""
        return sorted({datetime.fromtimestamp(record.ended_at_s, UTC).date().isoformat() for record in self.done})


def add_up(rates: Iterable[Rate]) -> Rate | None:
    """All trials together; None without any."""
    found = list(rates)
    return Rate(sum(rate.count for rate in found), sum(rate.trials for rate in found)) if found else None


def read_contents(path: Path) -> Contents:
    """BadInput if there is no store at `path`, or no finished round in it."""
    with Store.reading(path) as store:
        results = store.results()
        if not results:
            raise BadInput(f"no round of {path} has finished: `touchstone tournament run` goes on with it")
        reports = {key: store.report(key) for key in {result.round_key for result in results}}
        statistics = compute_statistics(results)
        rounds = tuple(store.rounds())
        asked = {(record.round.scheme, record.round.parameters): record.round.settings for record in rounds}
        settings = tuple(
            _gather(statistics, *setting, asked[setting], results, reports) for setting in statistics.settings
        )
        return Contents(path.name, rounds, statistics, settings)


def _gather(
    statistics: Statistics,
    scheme: str,
    parameters: str,
    settings: dict[str, Any],
    results: list[Result],
    reports: dict[str, dict[str, Any]],
) -> Setting:
    own = [result for result in results if (result.scheme, result.parameters) == (scheme, parameters)]
    return Setting(
        scheme=scheme,
        parameters=parameters,
        cells=tuple(statistics.under(scheme, parameters)),
        rocs=tuple(sorted(statistics.rocs(scheme, parameters), key=lambda roc: (roc.area, roc.strategy))),
        points=tuple(point for result in own if (point := _place(result, reports[result.round_key]))),
        cheapest_cheat=statistics.cheapest_profitable_cheat(scheme, parameters),
        settings=settings,
        sample=reports[own[0].round_key],
    )


def _place(result: Result, report: dict[str, Any]) -> Point | None:
    """None for a miner that kept no note of what it trained on."""
    note = next(miner["marks_trained_on"] for miner in report["miners"] if miner["name"] == result.miner)
    if note is None:
        return None
    return Point(result.strategy, result.verdict, note / len(report["marks"]), (result.hits or 0) / result.n)
