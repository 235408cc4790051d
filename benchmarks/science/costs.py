"""What verification costs beside the training that it verifies, in processor seconds and in operations.

Operations are counted as miners count theirs: for each token 6 of each parameter where it is trained on, 2 where it is
read or written (Kaplan et al. 2020), so a share of them is one of tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from benchmarks.science.campaign import ACTIVATION_MARKS, ACTIVATION_ROWS, SCHEMES
from benchmarks.science.figures import Cell, honest_miners, miners, percent, table
from benchmarks.science.setting import MAX_LENGTH, TRAININGS

OPERATIONS_TRAINED, OPERATIONS_READ = 6, 2
README_SCHEME = "canary"


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of work, an entry a task: processor seconds, and the shares of that task's training."""

    what: str
    cpu_s: Sequence[float]
    cpu_shares: Sequence[float]
    operation_shares: Sequence[float]
    """Empty where nobody counted tokens."""
    tokens: float | None = None


def costs_of(cells: Sequence[Cell]) -> Iterator[Cost]:
    """Of honest trainings, the training first."""
    kinds: tuple[tuple[str, str, Callable[[Cell], float] | None], ...] = (
        ("planting", "planting_s", None),
        ("probing (base and returned model)", "probing_s", lambda cell: 2 * cell["tokens"]["probing"]),
        ("baseline: loss of all rows", "losses_s", lambda cell: cell["tokens"]["read_for_losses"]),
    )
    whole, tokens = [1.0] * len(cells), mean(cell["trained_tokens"] for cell in cells)
    yield Cost("training", _seconds(cells, "training_s"), whole, whole, tokens)
    for what, key, count in kinds:
        yield Cost(
            what,
            _seconds(cells, key),
            [cell["cost"][key] / cell["cost"]["training_s"] for cell in cells],
            [OPERATIONS_READ * count(cell) / (OPERATIONS_TRAINED * cell["trained_tokens"]) for cell in cells]
            if count
            else [],
            mean(map(count, cells)) if count else None,
        )


def re_execution(results: dict[str, Any]) -> Cost | None:
    """The other baseline, beside trainings of its own."""
    proofs = [cell for name, cell in results["cells"].items() if name.startswith("science/proof-of-learning/")]
    if not proofs:
        return None
    return Cost(
        f"baseline: re-execution of {len(proofs[0]['segments'])} of {proofs[0]['epochs']} epochs",
        _seconds(proofs, "verification_s"),
        [cell["cost"]["verification_s"] / cell["cost"]["training_s"] for cell in proofs],
        [len(cell["segments"]) / cell["epochs"] for cell in proofs],
    )


def costs_section(results: dict[str, Any]) -> str:
    rows = []
    for scheme in SCHEMES:
        cells = miners(results, scheme=scheme, miner="honest", method="full", model="llama", n=ACTIVATION_MARKS)
        rows += [_row(scheme, cost) for cost in costs_of(cells)] if cells else []
    rows += _coverage_costs(results["coverage"])
    if again := re_execution(results):
        rows.append(_row("(none)", again))
    if not rows:
        return ""
    return (
        "Mean of the honest trainings above, on one thread. Operations: for each token 6 of each parameter where it is "
        "trained on, 2 where it is read or written (Kaplan et al. 2020).\n\n"
        + table(["scheme", "what", "CPU s", "of the training", "tokens", "operations, of the training", "tasks"], rows)
    )


def _row(scheme: str, cost: Cost) -> list[str]:
    return [
        scheme,
        cost.what,
        f"{mean(cost.cpu_s):.2f}",
        percent(mean(cost.cpu_shares), 1),
        f"{cost.tokens:,.0f}" if cost.tokens is not None else "-",
        percent(mean(cost.operation_shares), 1) if cost.operation_shares else "-",
        str(len(cost.cpu_s)),
    ]


def _coverage_costs(lines: list[dict[str, Any]]) -> list[list[str]]:
    """Of 1,000 marked rows: drawing the candidates, once for a dataset; one run of the reference, training included."""
    rows = []
    for what, seconds in (
        ("drawing 1,000 marks", [line["drawing_cpu_s"] for line in lines if line["drawing_cpu_s"]]),
        ("a calibration run, scoring included", [line["cpu_s"] for line in lines if not line["is_test"]]),
    ):
        if seconds:
            rows.append(["coverage", what, f"{mean(seconds):.2f}", "-", "-", "-", str(len(seconds))])
    return rows


def costs_table(results: dict[str, Any]) -> str:
    """The README's: of the default scheme alone, with the spec that it is of."""
    cells = honest_miners(results, README_SCHEME)
    if not cells:
        return ""
    spec = TRAININGS[README_SCHEME, "full"]
    again = re_execution(results)
    rows = [
        [
            cost.what,
            _spread(cost.cpu_s, "{:.1f}"),
            _spread(cost.cpu_shares, "{:.1%}"),
            _spread(cost.operation_shares, "{:.1%}"),
        ]
        for cost in (*costs_of(cells), *([again] if again else []))
    ]
    return (
        "**Cost of verification**, beside the training that is verified: the embedded model, all weights, on "
        f"{ACTIVATION_ROWS} rows of at most {MAX_LENGTH} tokens, {spec.epochs} epochs at {spec.learning_rate}, batches "
        f"of {spec.batch_size}, `{README_SCHEME}`; {len(cells)} tasks, one thread, median (range):\n\n"
        + table(["what", "CPU s", "of the training", "operations, of the training"], rows)
    )


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return "-"
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{form.format(median(values))} ({low} to {high})"


def _seconds(cells: Sequence[Cell], key: str) -> list[float]:
    return [cell["cost"][key] for cell in cells]
