"""`touchstone tournament`: parse and hand over. Imports that are slow happen inside the command that needs them."""

from pathlib import Path
from typing import Annotated

import typer

from validator.terminal import interruptible, needing_packages

tournament_app = typer.Typer(help="Play every strategy under every scheme, and see what pays.", no_args_is_help=True)

StoreFile = Annotated[Path, typer.Option("--store", help="The SQLite file of results.")]
PerCpuHour = Annotated[
    float | None,
    typer.Option("--price-per-cpu-hour", min=0, help="Ether that a miner pays for an hour of a processor."),
]
PerExaflop = Annotated[
    float | None,
    typer.Option("--price-per-exaflop", min=0, help="Ether that a miner pays for 10^18 floating point operations."),
]


@tournament_app.command()
def run(
    grid: Annotated[str, typer.Argument(help="What is played: a TOML file, or `published`, which is shipped.")],
    store: StoreFile,
    processes: Annotated[int, typer.Option(help="Rounds at a time.")] = 1,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster to play on.")] = None,
    until: Annotated[str | None, typer.Option(help="Start no round after this time of day, HH:MM.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Play at most so many rounds.")] = None,
) -> None:
    """Play the rounds that the store lacks. Stop it whenever you like: the same command goes on.

    Exit status 0 if every round that was played has a result, 1 if some failed (the next run plays them again), 2 for
    bad input.
    """
    with interruptible(), needing_packages("tournament", "simulate"):
        from validator.tournament.command import run_tournament

        is_without_failure = run_tournament(
            grid_name=grid, store_file=store, processes=processes, ray=ray, until=until, limit=limit
        )
    raise typer.Exit(0 if is_without_failure else 1)


@tournament_app.command()
def show(store: StoreFile, per_cpu_hour: PerCpuHour = None, per_exaflop: PerExaflop = None) -> None:
    """Who was paid, who was slashed, what it earned, and the cheapest cheat that pays.

    Without a price, processor time costs what makes an honest miner's work half of its reward.
    """
    with interruptible():
        from validator.tournament.command import show_tournament

        show_tournament(store_file=store, ether_per_cpu_hour=per_cpu_hour, ether_per_exaflop=per_exaflop)


@tournament_app.command()
def report(
    store: StoreFile,
    html: Annotated[Path, typer.Option(help="Where the page goes: one file, with everything in it.")],
) -> None:
    """Write the same as a page to look at in a browser."""
    with interruptible(), needing_packages("tournament report", "simulate"):
        from validator.tournament.report import write_report

        write_report(store, html)
