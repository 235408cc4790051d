"""All schemes side by side: what each is judged by, pooled over the cells that there are."""

from collections.abc import Callable, Iterable
from statistics import mean
from typing import Any

from benchmarks.science.campaign import (
    ACTIVATION_MARKS,
    LARGE_EPOCHS,
    LARGE_ROWS,
    QUALITY_DATA,
    QUALITY_SCHEME,
    SUBSET_DATA,
)
from benchmarks.science.figures import (
    activation,
    honest_miners,
    loss_change,
    miners,
    paired_changes,
    passing,
    percent,
    proportion,
    relative_change,
    table,
)
from benchmarks.science.stealth import read_rankings, worse_end
from validator.marks.schemes import SCHEMES, make_scheme

Property = Callable[[dict[str, Any], str], str]


def schemes_section(results: dict[str, Any]) -> str:
    return schemes_table(results, SCHEMES)


def schemes_table(results: dict[str, Any], wanted: Iterable[str]) -> str:
    """Of those that something has been measured of; empty if there are none."""
    names = [name for name in wanted if any(property_of(results, name) for _, property_of in PROPERTIES)]
    rows = [[title, *(property_of(results, name) or "-" for name in names)] for title, property_of in PROPERTIES]
    return table(["", *names], rows) if names else ""


def _honest(results: dict[str, Any], scheme: str) -> str:
    cells = honest_miners(results, scheme)
    return activation(cells) if cells else ""


def _large(results: dict[str, Any], scheme: str) -> str:
    cells = miners(results, scheme=scheme, miner="honest", rows=LARGE_ROWS, epochs=LARGE_EPOCHS.get(scheme))
    return activation(cells) + f"; {LARGE_EPOCHS[scheme]} epochs" if cells else ""


def _null(results: dict[str, Any], scheme: str) -> str:
    cells = miners(results, scheme=scheme, miner="honest")
    if not cells:
        return ""
    hits, probes = (sum(cell[key] for cell in cells) for key in ("base_hits", "n"))
    return f"at most {make_scheme(scheme).p0:.0e}, base model {proportion(hits, probes)}"


def _fresh(results: dict[str, Any], scheme: str) -> str:
    cells = miners(results, scheme=scheme, miner="honest")
    if not cells:
        return ""
    return proportion(*(sum(cell["fresh"][key] for cell in cells) for key in ("planted", "asked")))


def _half(results: dict[str, Any], scheme: str) -> str:
    cells = miners(results, scheme=scheme, miner="partial:0.5", data=SUBSET_DATA, n=ACTIVATION_MARKS)
    if not cells:
        return ""
    hits, seen = (mean(cell[key] for cell in cells) for key in ("hits", "marks_seen"))
    return f"{hits:.1f} hits with {seen:.1f} marks seen; paid {passing(cells)}"


def _stealth(results: dict[str, Any], scheme: str) -> str:
    of_scheme = read_rankings(results["stealth"]).get(scheme.removeprefix("canary+"))
    if not of_scheme:
        return ""
    best = max((worse_end(name, rankings) for name, rankings in of_scheme.items()), key=lambda one: one.recall)
    return f"{best.detector}: recall {best.recall:.2f} ({best.chance:.2f}), half in {percent(best.kept_for_half, 0)}"


def _quality(results: dict[str, Any], scheme: str) -> str:
    if scheme != QUALITY_SCHEME:
        return ""
    pairs = [pair for data in QUALITY_DATA for pair in paired_changes(results, data)]
    return relative_change([loss_change(*pair) for pair in pairs]) if pairs else ""


def _cost(results: dict[str, Any], scheme: str) -> str:
    cells = honest_miners(results, scheme)
    if not cells:
        return ""
    shares = [(cell["cost"]["planting_s"] + cell["cost"]["probing_s"]) / cell["cost"]["training_s"] for cell in cells]
    return f"{percent(mean(shares), 1)} of the training's; {cells[0]['recipe']['epochs']} epochs"


PROPERTIES: list[tuple[str, Property]] = [
    ("honest activation; trainings paid", _honest),
    (f"the same of {LARGE_ROWS:,} rows", _large),
    ("hit by chance", _null),
    ("planted openings in answers to fresh prompts", _fresh),
    ("half-trained miner", _half),
    ("best detector: recall at 2n (chance), data kept for half of the marks", _stealth),
    ("held-out loss with marks", _quality),
    ("planting and probing, processor time", _cost),
]
