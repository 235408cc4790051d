"""`touchstone tournament`, from checked options to exit status."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from validator.errors import BadInput, first_error
from validator.model_work import Children, ModelWork, RayCluster
from validator.tournament.campaign import Campaign, parse_until
from validator.tournament.cells import Prices
from validator.tournament.grid import find_grid, load_grid
from validator.tournament.rounds import Played, Round
from validator.tournament.show import print_tournament
from validator.tournament.statistics import compute_statistics
from validator.tournament.store import Store, read_store
from validator.tournament.worker import make_round_scenario

MAX_PROCESSES = 1024


def run_tournament(
    *, grid_name: str, store_file: Path, processes: int, ray: str | None, until: str | None, limit: int | None
) -> bool:
    """Play what the store lacks; whether no round of this run failed."""
    console = Console()
    if not 1 <= processes <= MAX_PROCESSES:
        raise BadInput(f"the number of processes is 1 to {MAX_PROCESSES}, not {processes}")
    grid = load_grid(find_grid(grid_name))
    plan = grid.plan()
    check_scenarios(plan)
    until_s = _parse_until(until)
    work: ModelWork = RayCluster(ray, processes) if ray else Children(processes)
    with Store.writing(store_file) as store:
        done = store.done_keys()
        missing = [planned for planned in plan if planned.key not in done]
        with _Progress(console, total=len(plan), done=len(plan) - len(missing)) as progress:
            campaign = Campaign(
                store=store,
                work=work,
                round_limit_s=grid.round_limit_s,
                watcher=progress,
                may_start=lambda: until_s is None or time.time() < until_s,
            )
            try:
                asyncio.run(campaign.play(missing[:limit], processes))
            except BaseExceptionGroup as errors:  # boundary: nothing is swallowed, the first error goes on alone
                raise first_error(errors) from None
            finally:
                left = len(missing) - campaign.done
                progress.end(f"{campaign.done} rounds played, {campaign.failed} failed, {left} of {len(plan)} to play")
    return not campaign.failed


def check_scenarios(plan: Sequence[Round]) -> None:
    """Before anything is started: one round of each kind as a scenario."""
    kinds = {(planned.scheme, planned.parameters, planned.strategies): planned for planned in plan}
    for planned in kinds.values():
        try:
            make_round_scenario(planned)
        except BadInput as error:
            raise BadInput(f"scheme {planned.scheme}, parameters {planned.parameters}: {error}") from None


def show_tournament(*, store_file: Path, ether_per_cpu_hour: float | None, ether_per_exaflop: float | None) -> None:
    """The tables and what follows from them, on a terminal."""
    rounds, results = read_store(store_file)
    is_priced = (ether_per_cpu_hour, ether_per_exaflop) != (None, None)
    prices = Prices(ether_per_cpu_hour or 0.0, ether_per_exaflop or 0.0) if is_priced else None
    print_tournament(Console(highlight=False), rounds, compute_statistics(results, prices))


def _parse_until(text: str | None) -> float | None:
    try:
        return None if text is None else parse_until(text)
    except ValueError:
        raise BadInput(f"--until takes a time of day such as 07:30, not {text!r}") from None


class _Progress:
    """A bar on a terminal, a line for each round elsewhere; failures are told in both."""

    def __init__(self, console: Console, *, total: int, done: int) -> None:
        self._console = console
        self._total, self._done = total, done
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("rounds", total=total, completed=done)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def done(self, ended: Round, played: Played) -> None:
        self._done += 1
        self._bar.advance(self._task)
        if not self._console.is_terminal:
            verdicts = Counter(miner["verdict"] for miner in played.report["miners"])
            told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
            self._say(f"{self._done}/{self._total} {ended}: {told} in {played.wall_s:.0f} s")

    def failed(self, ended: Round, reason: str) -> None:
        self._say(f"failed, {ended}: {reason}")

    def end(self, summary: str) -> None:
        self._bar.stop()
        self._say(summary)

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
