"""`python -m benchmarks.cheats [--until HH:MM] [--processes N] [--page]`: the published tournament.

Every finished round is one line of benchmarks/cheats.jsonl, so that the campaign can be stopped at any time and goes on
where it was, on another machine too; docs/cheats.md is written from these lines, and `--page` writes it alone.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.science.figures import table
from benchmarks.science.plots import COLOURS, save_plot
from validator.json_lines import JsonLines
from validator.tournament.cells import HONEST, Cell, Estimate
from validator.tournament.command import run_tournament
from validator.tournament.rounds import Played, Result, Round
from validator.tournament.statistics import MARGIN_SHARE, Statistics, compute_statistics
from validator.tournament.store import RoundRecord, Store, read_store

GRID = "published"
ROUNDS = Path(__file__).with_name("cheats.jsonl")
STORE = Path(__file__).parents[1] / ".cache" / "cheats.sqlite"
PAGE = Path("docs") / "cheats.md"
FIGURE = PAGE.with_suffix(".svg")
KEPT = ("scheme", "data", "rows", "seed", "spec")
KEPT_OF_MINERS = (
    *("name", "strategy", "intent", "verdict", "outcome", "hits", "n", "p_value", "coverage", "weights_hits"),
    *("marks_trained_on", "to_miner_wei", "burned_wei", "cost"),
)
SECONDS_PER_HOUR = 3600
ALPHA = 0.05
ORDER = ("honest", "cheat", "mistake")


def fill_store(path: Path, rounds: Path = ROUNDS) -> None:
    """Add the lines' rounds that a store lacks."""
    path.parent.mkdir(exist_ok=True)
    with Store.writing(path) as store:
        done = store.done_keys()
        for line in JsonLines(rounds).load():
            planned = Round.from_canonical(json.dumps(line["round"]))
            if planned.key not in done:
                store.add_done(planned, Played(**line["played"]))


def keep_rounds(path: Path, rounds: Path = ROUNDS) -> None:
    """Add the store's rounds that the lines lack."""
    lines = JsonLines(rounds)
    known = {Round.from_canonical(json.dumps(line["round"])).key for line in lines.load()}
    with Store.reading(path) as store:
        for record in store.rounds():
            if record.is_done and record.round.key not in known:
                played = {
                    "report": _without_what_nobody_counts(store.report(record.round.key)),
                    "wall_s": record.wall_s,
                    "versions": record.versions,
                }
                lines.append({"round": json.loads(record.round.canonical), "played": played})


def _without_what_nobody_counts(report: dict[str, Any]) -> dict[str, Any]:
    miners = [{key: miner[key] for key in KEPT_OF_MINERS} for miner in report["miners"]]
    return {key: report[key] for key in KEPT} | {"miners": miners}


def render_page(rounds: Sequence[RoundRecord], results: Sequence[Result]) -> str:
    """What every strategy earned under every scheme."""
    statistics = compute_statistics(results)
    done = [record for record in rounds if record.is_done]
    hours = sum(result.cpu_s or 0.0 for result in results) / SECONDS_PER_HOUR
    machines = Counter(", ".join(f"{name} {found}" for name, found in record.versions.items()) for record in done)
    parts = [
        "# What cheating earns\n",
        (
            "Every strategy of [strategies.md](strategies.md), really run under every scheme: the grid "
            "`validator/tournament/grids/published.toml`, played by `python -m benchmarks.cheats` "
            f"(`touchstone tournament run published --store FILE` plays the same). {len(done)} rounds, "
            f"in which the miners worked for {hours:.1f} hours of one processor, on {'; '.join(machines)}.\n"
        ),
        (
            "One trial is one strategy under one seed, which draws rows, marks and training anew; strategies with "
            "more than five were chosen by their first five, which are counted with the rest. *Paid*: how many, with "
            "Clopper and Pearson's 95% interval of the rate. *Profit*: ether per miner at a reward of 1 and a bond "
            "of 1, less compute at the price at which an honest miner's work costs half of its reward, with "
            "the interval that the chances of reward and loss have (Bonferroni); without gas. **A cheat pays**, and is "
            "printed in bold, where its mean profit is above nothing and above that of honest work by more than "
            f"{MARGIN_SHARE:g} of the reward. The models are small: what a large one would learn is not said here.\n"
        ),
        "## Where cheating pays\n",
        f"![Mean profit of every strategy under every scheme]({FIGURE.relative_to(PAGE.parent)})\n",
        table(
            ["scheme", "honest miners paid", "cheats", "of which pay", "the cheapest of them"],
            [_summarise(statistics, *setting) for setting in statistics.settings],
        ),
        *(_render_setting(statistics, *setting) for setting in statistics.settings),
        _render_comparisons(statistics),
    ]
    return "\n".join(parts)


def draw_figure(statistics: Statistics) -> Figure:
    """The mean profit of every strategy under every scheme; on the line, that of honest work."""
    strategies = sorted({(ORDER.index(cell.intent), cell.strategy) for cell in statistics.cells}, reverse=True)
    places = {strategy: place for place, (_intent, strategy) in enumerate(strategies)}
    figure = Figure(figsize=(7, 1 + 0.17 * len(places)))
    axes = figure.subplots()
    for number, (scheme, parameters) in enumerate(statistics.settings):
        means = {cell.strategy: cell.profit.mean for cell in statistics.under(scheme, parameters) if cell.profit}
        # Beside each other, so that equal profits are all seen.
        dodged = [places[strategy] + 0.2 * (1 - number) for strategy in means]
        colour = COLOURS[scheme.split(",")[0]]
        axes.plot(list(means.values()), dodged, "o", markersize=3.5, alpha=0.8, color=colour, label=scheme)
        if HONEST in means:
            axes.axvline(means[HONEST], color=colour, linewidth=0.8)
    axes.set_yticks(list(places.values()), list(places), fontsize="x-small")
    axes.set_xlabel("ether per miner, at a reward of 1 and a bond of 1")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def write_page() -> None:
    """The page and its picture, of what the store has."""
    rounds, results = read_store(STORE)
    PAGE.write_text(render_page(rounds, results))
    save_plot(draw_figure(compute_statistics(results)), FIGURE)


def _summarise(statistics: Statistics, scheme: str, parameters: str) -> list[str]:
    honest = statistics.honest(scheme, parameters)
    paying = statistics.profitable_cheats(scheme, parameters)
    return [
        scheme,
        f"{honest.paid.count} of {len(honest.trials)}" if honest else "-",
        str(sum(cell.is_cheat for cell in statistics.under(scheme, parameters))),
        f"**{len(paying)}**" if paying else "none",
        f"{paying[0].strategy}: {_describe_profit(paying[0].profit)}" if paying else "-",
    ]


def _render_setting(statistics: Statistics, scheme: str, parameters: str) -> str:
    cells = statistics.under(scheme, parameters)
    paying = statistics.profitable_cheats(scheme, parameters)
    has_shares = any(trial.trained_share is not None for cell in cells for trial in cell.trials)
    header = ["strategy", "trials", "paid", "slashed", "hits", *(["trained share"] * has_shares), "CPU s", "profit"]
    rows = [
        [
            f"**{cell.strategy}**" if cell in paying else cell.strategy,
            str(len(cell.trials)),
            "{} [{:.2f}, {:.2f}]".format(cell.paid.count, *cell.paid.interval()),
            str(cell.slashed.count),
            f"{cell.mean_hits:.1f} of {cell.trials[0].n}",
            *([_mean_share(cell)] * has_shares),
            "-" if cell.mean_cpu_hours is None else f"{cell.mean_cpu_hours * SECONDS_PER_HOUR:.1f}",
            _describe_profit(cell.profit),
        ]
        for cell in sorted(cells, key=lambda cell: (ORDER.index(cell.intent), -cell.paid.value, -cell.mean_hits))
    ]
    return f"## {scheme}\n\n{table(header, rows)}"


def _mean_share(cell: Cell) -> str:
    """Over the trials of which a share was estimated, whose number stands behind it."""
    shares = [trial.trained_share for trial in cell.trials if trial.trained_share is not None]
    return f"{sum(shares) / len(shares):.2f} ({len(shares)})" if shares else "-"


def _describe_profit(profit: Estimate | None) -> str:
    return "-" if profit is None else f"{profit.mean:+.2f} [{profit.low:+.2f}, {profit.high:+.2f}]"


def _render_comparisons(statistics: Statistics) -> str:
    comparisons = statistics.comparisons
    shown = sum(comparison.adjusted_p_value < ALPHA for comparison in comparisons)
    return (
        f"## Told apart\n\nThat it is paid less often than honest miners is shown for {shown} of {len(comparisons)} "
        f"pairs of cheat and scheme (Fisher's exact test, one-sided; Holm, {ALPHA:.0%} for all together).\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cheats", description=__doc__)
    parser.add_argument("--until", help="start no round after this time of day, HH:MM")
    parser.add_argument("--processes", type=int, default=1, help="rounds at a time")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE} alone")
    arguments = parser.parse_args()
    fill_store(STORE)
    try:
        if not arguments.page:
            run_tournament(
                grid_name=GRID,
                store_file=STORE,
                processes=arguments.processes,
                ray=None,
                until=arguments.until,
                limit=None,
            )
    finally:
        keep_rounds(STORE)
        write_page()


if __name__ == "__main__":
    main()
