"""The plots of docs/results.md as SVG, the same bytes for the same cells."""

from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import hypergeom

from benchmarks.science.campaign import ACTIVATION_MARKS, ACTIVATION_ROWS, SCHEMES, SHARE_DATA, SHARE_ROWS, SUBSET_DATA
from benchmarks.science.coverage import judge_specs
from benchmarks.science.figures import CONFIDENCE, honest_miners, miners
from benchmarks.science.stealth import read_rankings, worse_end
from validator.plan.subset import chance_of_passing

COLOURS = {"backdoor": "tab:red", "canary": "tab:blue", "coverage": "tab:green"}
NEEDED = 12


def draw_plots(results: dict[str, Any]) -> dict[str, Figure]:
    """Each plot by the name of its file, where there are cells for it."""
    plots = {
        "activation-by-epoch": _by_epoch(results),
        "activation-by-share": _by_share(results),
        "hits-by-trained-share": _by_trained_share(results),
        "coverage": _coverage(results),
        "stealth": _stealth(results),
    }
    return {name: figure for name, figure in plots.items() if figure}


def save_plot(figure: Figure, path: Path) -> None:
    """No date and no random ids; text stays text, so that no font of this machine is in it."""
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")


def _by_epoch(results: dict[str, Any]) -> Figure | None:
    figure, (axes,) = _figure(1, "epoch", "probes that hit")
    for scheme in SCHEMES:
        cells = honest_miners(results, scheme)
        if not cells:
            continue
        rates = np.array([cell["hits_by_epoch"] for cell in cells]) / ACTIVATION_MARKS
        epochs = np.arange(1, rates.shape[1] + 1)
        for line in rates:
            axes.plot(epochs, line, color=COLOURS[scheme], alpha=0.2, linewidth=0.8)
        label = f"{scheme}, mean of {len(cells)} trainings"
        axes.plot(epochs, rates.mean(axis=0), color=COLOURS[scheme], marker="o", markersize=3, label=label)
    return _finish(figure)


def _by_share(results: dict[str, Any]) -> Figure | None:
    figure, (axes,) = _figure(1, "marked rows of 1,000", "probes that hit")
    for data, style in zip(SHARE_DATA, ("-", "--"), strict=True):
        for scheme in SCHEMES:
            by_marks: dict[int, list[float]] = defaultdict(list)
            for cell in miners(results, data=data, rows=SHARE_ROWS, scheme=scheme, miner="honest"):
                by_marks[cell["n"]].append(cell["hits"] / cell["n"])
            if by_marks:
                marks = sorted(by_marks)
                rates = [mean(by_marks[count]) for count in marks]
                label = f"{scheme}, {data}"
                axes.plot(marks, rates, color=COLOURS[scheme], linestyle=style, marker="o", markersize=3, label=label)
    axes.set_xscale("log")
    return _finish(figure)


def _by_trained_share(results: dict[str, Any]) -> Figure | None:
    """Left: hits against what the miner's rows hold. Right: who is paid, against both conventions."""
    figure, (hits_axes, paid_axes) = _figure(2, "share of the rows that was trained on", "probes that hit", "paid")
    for scheme in SCHEMES:
        by_share: dict[float, list[int]] = defaultdict(list)
        wanted = {
            "data": SUBSET_DATA,
            "rows": ACTIVATION_ROWS,
            "n": ACTIVATION_MARKS,
            "method": "full",
            "model": "llama",
        }
        for cell in miners(results, scheme=scheme, **wanted):
            if cell["miner"] == "honest" or cell["miner"].startswith("partial:"):
                by_share[cell["trained_rows"] / cell["rows"]].append(cell["hits"])
        points = [(share, hits / ACTIVATION_MARKS) for share, many in by_share.items() for hits in many]
        if points:
            hits_axes.scatter(*zip(*points, strict=True), color=COLOURS[scheme], s=12, alpha=0.6, label=scheme)
            shares = sorted(by_share)
            paid = [mean(hits >= NEEDED for hits in by_share[share]) for share in shares]
            paid_axes.plot(shares, paid, color=COLOURS[scheme], marker="o", markersize=3, label=f"{scheme}, measured")
    taken = np.arange(ACTIVATION_ROWS + 1)
    shares_taken = taken / ACTIVATION_ROWS
    held = hypergeom(ACTIVATION_ROWS, ACTIVATION_MARKS, taken)
    low, high = (held.ppf(quantile) / ACTIVATION_MARKS for quantile in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    hits_axes.fill_between(shares_taken, low, high, color="tab:grey", alpha=0.2, label="marks in so many rows, 95%")
    for needed, style, name in ((NEEDED, "-", "P(B >= rN)"), (NEEDED + 1, ":", "P(B > rN)")):
        chances = [chance_of_passing(ACTIVATION_ROWS, ACTIVATION_MARKS, int(count), needed) for count in taken]
        paid_axes.plot(shares_taken, chances, color="tab:grey", linestyle=style, label=name)
    return _finish(figure) if hits_axes.collections[1:] else None


def _coverage(results: dict[str, Any]) -> Figure | None:
    figure, (axes,) = _figure(1, "share of the rows that was trained on", "estimate, with its 95% interval")
    for number, (spec, verdicts) in enumerate(judge_specs(results).items()):
        dodge = 0.008 * (number - 1)
        for verdict, label in zip(verdicts, [spec, *[None] * len(verdicts)], strict=False):
            low, high = verdict["interval"]
            axes.plot([verdict["share"] + dodge] * 2, [low, high], color=f"C{number}", alpha=0.4)
            axes.plot(verdict["share"] + dodge, verdict["estimate"], ".", color=f"C{number}", label=label)
    axes.plot([0, 1], [0, 1], color="tab:grey", linewidth=0.8)
    return _finish(figure)


def _stealth(results: dict[str, Any]) -> Figure | None:
    """How much of the data each detector must keep; on the line, half of it: no better than chance."""
    rankings = read_rankings(results["stealth"])
    detectors = list(dict.fromkeys(detector for of_scheme in rankings.values() for detector in of_scheme))[::-1]
    figure = Figure(figsize=(7, 1 + 0.17 * len(detectors)))
    axes = figure.subplots()
    for scheme, of_scheme in rankings.items():
        names = [name for name in detectors if name in of_scheme]
        kept = [worse_end(name, of_scheme[name]).kept_for_half for name in names]
        places = [detectors.index(name) for name in names]
        axes.plot(kept, places, "o", markersize=4, alpha=0.7, color=COLOURS[scheme], label=scheme)
    axes.axvline(0.5, color="tab:grey", linewidth=0.8)
    axes.set_yticks(range(len(detectors)), detectors, fontsize="x-small")
    axes.set_xlabel("share of the data to keep for half of the marks")
    axes.set_xlim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    return _finish(figure)


def _figure(panels: int, x: str, *y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.2 * panels, 3.2))
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel, label in zip(axes, y, strict=True):
        panel.set_xlabel(x)
        panel.set_ylabel(label)
        panel.set_ylim(-0.04, 1.04)
        panel.grid(alpha=0.3)
    return figure, axes


def _finish(figure: Figure) -> Figure | None:
    """With legends; None where nothing was drawn."""
    if not all(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        return None
    for axes in figure.axes:
        axes.legend(fontsize="small")
    return figure
