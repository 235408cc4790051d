"""Whether the tests reject models that know nothing as rarely as they promise: simulated tasks with fresh secret draws.

A model that is independent of the draws is a fixed table: of scores for all candidates of all marks, or of answers to
all probes. Every simulated task draws picks and tie-breaking keys anew and judges the same tables with the code of the
product. `python -m benchmarks.exactness [TASKS]` prints one line for each test, model and alpha, and keeps them in
benchmarks/exactness.json.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from validator.coverage.null import log_upper_tail
from validator.coverage.result import judge_coverage
from validator.marks.coverage import K
from validator.protocol.verdict import Thresholds, Verdict

RESULTS = Path(__file__).with_suffix(".json")
ALPHAS = (0.05, 0.01, 0.001)
TASKS = 20_000
BAND = 0.001
"""One-sided; divided by the number of cells."""
ROWS = 100

Table = Sequence[tuple[float, ...]]
"""A model's score of every candidate of every mark."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How often one test rejected one model at one alpha; `size` is the test's exact size there."""

    test: str
    model: str
    alpha: float
    tasks: int
    rejected: int
    size: float

    def limit(self, cells: int) -> int:
        """The most rejections that chance explains, corrected for so many cells."""
        return int(binom.isf(BAND / cells, self.tasks, self.size))


def score_tables(seed: int = 0) -> dict[str, Table]:
    """Models that know nothing, but for the embedded one (`embedded_table`)."""
    dice = np.random.default_rng(seed)
    mixed = [tuple(np.round(dice.normal(size=k), 1).tolist()) for k in dice.integers(2, 10, ROWS).tolist()]
    return {
        "the generator's first": [(1.0,) + (0.0,) * (K - 1)] * ROWS,
        "the generator's order": [tuple(map(float, range(K, 0, -1)))] * ROWS,
        "all tied": [(0.0,) * K] * ROWS,
        "mixed k with ties": mixed,
    }


def embedded_table() -> Table:
    """Log-likelihoods under the embedded model of the candidates that it proposes itself."""
    from validator.base_model import EMBEDDED_MODEL
    from validator.base_model.grammar import generate_rows
    from validator.coverage.likelihood import find_windows, log_likelihoods
    from validator.edges.generator import LocalScorer
    from validator.language_model import load
    from validator.marks.coverage import draw_coverage
    from validator.marks.rules import AlterationRules
    from validator.marks.secrets import DrawStream

    rows = generate_rows(ROWS, 0)
    scorer, rules = LocalScorer(EMBEDDED_MODEL), AlterationRules()
    marks = draw_coverage(rows, range(ROWS), DrawStream(bytes(32)), scorer, max_length=256, rules=rules)
    network, tokenizer = load(EMBEDDED_MODEL)
    windows = find_windows(tokenizer, rows, marks, max_length=256, prompt_limit=128)
    return [scores for scores in log_likelihoods(network, windows) if scores is not None]


def simulate_coverage(model: str, table: Table, tasks: int) -> list[Cell]:
    """Rank sum, top-rank count and both together, over tasks with fresh picks."""
    options = [len(scores) for scores in table]
    dice = np.random.default_rng(sum(map(ord, model)))
    found: dict[str, list[float]] = {"rank sum": [], "top-rank count": [], "combination": []}
    for task in range(tasks):
        picks = dice.integers(0, options).tolist()
        result = judge_coverage(table, options, picks, seed=task)
        found["rank sum"].append(result.rank_sum_log10_p)
        found["top-rank count"].append(result.top_rank_log10_p)
        found["combination"].append(result.log10_p)
    groups = {k: options.count(k) for k in sorted(set(options))}
    sums = tuple(((1 / k,) * k, count) for k, count in groups.items())
    tops = tuple(((1 - 1 / k, 1 / k), count) for k, count in groups.items())
    sizes: dict[str, Callable[[float], float]] = {
        "rank sum": lambda alpha: _tail_size(sums, alpha),
        "top-rank count": lambda alpha: _tail_size(tops, alpha),
        # Not exact but never exceeded: either of the two rejects at half of alpha.
        "combination": lambda alpha: _tail_size(sums, alpha / 2) + _tail_size(tops, alpha / 2),
    }
    return [
        Cell(test, model, alpha, tasks, sum(value <= log10(alpha) for value in values), sizes[test](alpha))
        for test, values in found.items()
        for alpha in ALPHAS
    ]


@lru_cache(maxsize=256)
def _tail_size(groups: tuple[tuple[tuple[float, ...], int], ...], alpha: float) -> float:
    """The largest tail probability up to alpha."""
    low, high = 0, sum((len(mass) - 1) * count for mass, count in groups) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if log_upper_tail(groups, middle) <= np.log(alpha) else (middle, high)
    return float(np.exp(log_upper_tail(groups, high)))


@dataclass(frozen=True, slots=True)
class Probes:
    """n probes in groups of `per_draw` that share a draw of w words, each one of k; and what a miner answers to each:
    the index of the candidate at every place.
    """

    n: int
    per_draw: int
    k: int
    w: int
    guesses: NDArray[np.int64]
    """n x w."""


def probe_models() -> dict[str, Probes]:
    """Every answer is a guess; the draws are kept small, so that lucky ones occur at all."""
    one = np.zeros((16, 4), np.int64)
    different = np.stack([np.arange(16) // 4, np.arange(16) % 4], axis=1)
    return {
        "canary, mode": Probes(16, 1, 4, 4, one),
        "canary, mode, n = 64": Probes(64, 1, 4, 2, np.zeros((64, 2), np.int64)),
        "whole openings, mode": Probes(64, 1, 16, 1, np.zeros((64, 1), np.int64)),
        "backdoor, one guess": Probes(16, 16, 8, 2, np.zeros((16, 2), np.int64)),
        "backdoor, a guess for each probe": Probes(16, 16, 32, 2, different),
        "backdoor, two guesses": Probes(16, 16, 8, 2, np.repeat([[0, 0], [1, 1]], 8, axis=0)),
        "groups of 4, one guess": Probes(16, 4, 8, 2, np.zeros((16, 2), np.int64)),
        "groups of 4, a guess for each probe": Probes(16, 4, 8, 2, different),
    }


def simulate_probes(model: str, probes: Probes, tasks: int) -> list[Cell]:
    """The verdict's p-value of hits, over tasks with fresh draws."""
    dice = np.random.default_rng(sum(map(ord, model)))
    draws = -(-probes.n // probes.per_draw)
    picks = np.repeat(dice.integers(0, probes.k, (tasks, draws, probes.w)), probes.per_draw, axis=1)[:, : probes.n]
    hits = (picks == probes.guesses).all(axis=2).sum(axis=1)
    thresholds = Thresholds(probes.n, probes.n, 0, slashing=False)
    p0 = (probes.k**-probes.w,) * probes.n
    p_values = np.array([Verdict(thresholds, count, p0, probes.per_draw).p_value for count in range(probes.n + 1)])
    return [
        Cell(
            "hits",
            model,
            alpha,
            tasks,
            int((p_values[hits] <= alpha).sum()),
            float(np.max(p_values, where=p_values <= alpha, initial=0.0)),
        )
        for alpha in ALPHAS
    ]


def simulate(tasks: int) -> Iterator[Cell]:
    """Every test, model and alpha."""
    for model, table in (score_tables() | {"the embedded model": embedded_table()}).items():
        yield from simulate_coverage(model, table, tasks)
    for model, probes in probe_models().items():
        yield from simulate_probes(model, probes, tasks)


def main(arguments: list[str]) -> None:
    cells = list(simulate(int(arguments[0]) if arguments else TASKS))
    for cell in cells:
        verdict = "ok" if cell.rejected <= cell.limit(len(cells)) else "TOO MANY"
        print(
            f"{cell.test:15} {cell.model:36} alpha {cell.alpha:<6} size {cell.size:.3e} rejected {cell.rejected:5} of "
            f"{cell.tasks}, at most {cell.limit(len(cells))}: {verdict}"
        )
    RESULTS.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
