"""Numbers of the campaign, picked out of its cells and put into words: the same forms in every table of the page."""

from collections.abc import Iterable, Sequence
from math import ceil
from statistics import mean, stdev
from typing import Any

from scipy.stats import binomtest, t

from benchmarks.science.campaign import (
    ACTIVATION_MARKS,
    ACTIVATION_ROWS,
    QUALITY_EPOCHS,
    QUALITY_ROWS,
    QUALITY_SCHEME,
)

Cell = dict[str, Any]

NOT_MEASURED = "not measured yet"
CONFIDENCE = 0.95
PAID_SHARE = 0.75


def miners(results: dict[str, Any], **wanted: Any) -> list[Cell]:
    """The cells of miners with these fields; `epochs` is None, the spec's own, unless it is named."""
    wanted = {"epochs": None} | wanted
    return [
        cell
        for name, cell in results["cells"].items()
        if name.startswith("science/miners/")
        and "refused" not in cell
        and all(cell[field] == value for field, value in wanted.items())
    ]


def honest_miners(results: dict[str, Any], scheme: str) -> list[Cell]:
    """Of the embedded model, trained whole on tasks of the usual size: what a figure is of unless it says otherwise."""
    size = {"rows": ACTIVATION_ROWS, "n": ACTIVATION_MARKS}
    return miners(results, scheme=scheme, miner="honest", method="full", model="llama", **size)


def is_paid(cell: Cell) -> bool:
    """Whether three quarters of the probes hit, as a task asks for by default."""
    return bool(cell["hits"] >= ceil(PAID_SHARE * cell["n"]))


def activation(cells: Sequence[Cell]) -> str:
    """Hits over probes, and the trainings that pass, with an exact interval: a training is what is independent."""
    if not cells:
        return NOT_MEASURED
    rates = [cell["hits"] / cell["n"] for cell in cells]
    spread = "" if len(cells) == 1 else f" ({min(rates):.2f} to {max(rates):.2f})"
    return f"{mean(rates):.2f}{spread}; {passing(cells)}"


def passing(cells: Sequence[Cell]) -> str:
    return proportion(sum(map(is_paid, cells)), len(cells))


def proportion(count: int, of: int) -> str:
    """With the 95% Clopper-Pearson interval."""
    interval = binomtest(count, of).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return f"{count} of {of} [{interval.low:.2f}, {interval.high:.2f}]"


def paired_changes(results: dict[str, Any], data: str) -> list[tuple[Cell, Cell]]:
    """Trainings of the same seed on D_train and on D, whose held-out losses are to be compared."""
    wanted = {"data": data, "scheme": QUALITY_SCHEME, "rows": QUALITY_ROWS, "epochs": QUALITY_EPOCHS}
    marked = {cell["seed"]: cell for cell in miners(results, miner="honest", **wanted)}
    unmarked = {cell["seed"]: cell for cell in miners(results, miner="unmarked", **wanted)}
    return [(marked[seed], unmarked[seed]) for seed in sorted(marked.keys() & unmarked.keys())]


def loss_change(marked: Cell, unmarked: Cell) -> float:
    """Of the held-out loss, as a share."""
    return float(marked["held_out_loss"] / unmarked["held_out_loss"] - 1)


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}%"


def mean_with_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the half-width of its 95% interval (Student's t over trainings); None for a single one."""
    if len(values) < 2:
        return mean(values), None
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values), half


def relative_change(values: Sequence[float]) -> str:
    """Of shares: their mean in percent, with its interval where there is one."""
    middle, half = mean_with_interval(values)
    return f"{100 * middle:+.2f}%" + (f" ± {100 * half:.2f}" if half is not None else " (one training)")


def spread(values: Iterable[float], digits: int = 1) -> str:
    kept = list(values)
    if len(kept) == 1:
        return f"{kept[0]:.{digits}f}"
    return f"{mean(kept):.{digits}f} ({min(kept):.{digits}f} to {max(kept):.{digits}f})"


def power_of_ten(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def quote(text: str) -> str:
    """Words of a row as they may stand in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
