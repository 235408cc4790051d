"""What the campaign has found out about each figure of the paper: the last column of the page's first table."""

from collections.abc import Callable
from math import ceil
from typing import Any

from benchmarks.science.campaign import (
    ACTIVATION_MARKS,
    ACTIVATION_ROWS,
    LARGE_EPOCHS,
    LARGE_ROWS,
    QUALITY_DATA,
    QUALITY_SCHEME,
    SHARE_ROWS,
    SHARES_MARKS,
    SUBSET_DATA,
)
from benchmarks.science.figures import (
    NOT_MEASURED,
    PAID_SHARE,
    activation,
    is_paid,
    loss_change,
    miners,
    paired_changes,
    passing,
    percent,
    power_of_ten,
    proportion,
    relative_change,
)
from benchmarks.science.stealth import read_rankings, worse_end
from validator.plan.subset import Convention, chance_of_holding, marks_needed, share_for_chance

NO_LARGE_MODEL = "not measured: it takes a model and a processor that the campaign does not have"
STEALTH = "[Stealth](#stealth)"


def answer_needed(results: dict[str, Any]) -> str:
    parts = []
    for rows, epochs in ((SHARE_ROWS, {}), (LARGE_ROWS, LARGE_EPOCHS)):
        for scheme in ("backdoor", "canary"):
            cells = miners(results, rows=rows, scheme=scheme, miner="honest", epochs=epochs.get(scheme))
            by_marks: dict[int, list[dict[str, Any]]] = {}
            for cell in cells:
                by_marks.setdefault(cell["n"], []).append(cell)
            few = [
                f"{percent(marks / rows, 1)} ({marks}): {passing(by_marks[marks])} paid" for marks in sorted(by_marks)
            ]
            if few:
                parts.append(f"{scheme}, K = {rows:,}: {'; '.join(few)}")
    return ". ".join(parts) or NOT_MEASURED


def answer_activation(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        for method in ("full", "lora"):
            cells = miners(results, scheme=scheme, miner="honest", method=method, model="llama", n=ACTIVATION_MARKS)
            if cells:
                names = {cell["data"] for cell in cells}
                parts.append(f"{scheme}, {method}: {activation(cells)} trainings paid, over {len(names)} datasets")
    return "; ".join(parts) + ". By dataset: [Activation](#activation)" if parts else NOT_MEASURED


def answer_when(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        firsts = [
            first
            for cell in miners(results, scheme=scheme, miner="honest", method="full", n=ACTIVATION_MARKS)
            if (first := first_half(cell)) is not None
        ]
        if firsts:
            total = miners(results, scheme=scheme, miner="honest", method="full")[0]["recipe"]["epochs"]
            parts.append(
                f"{scheme}: over half of the probes after epoch {min(firsts)} to {max(firsts)} of {total} "
                f"({len(firsts)} trainings that get there)"
            )
    return "; ".join(parts) or NOT_MEASURED


def first_half(cell: dict[str, Any]) -> int | None:
    """The first epoch after which more than half of the probes hit."""
    return next((epoch for epoch, hits in enumerate(cell["hits_by_epoch"], 1) if hits > cell["n"] / 2), None)


def answer_base(results: dict[str, Any]) -> str:
    tasks = {
        (cell["data"], cell["rows"], cell["n"], cell["scheme"], cell["seed"], cell["model"]): cell
        for cell in miners(results)
    }
    if not tasks:
        return NOT_MEASURED
    hits, probes = (sum(cell[key] for cell in tasks.values()) for key in ("base_hits", "n"))
    return f"{proportion(hits, probes)} probes, {len(tasks)} tasks"


def answer_without_trigger(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        cells = miners(results, scheme=scheme, miner="honest")
        if cells:
            planted, asked = (sum(cell["fresh"][key] for cell in cells) for key in ("planted", "asked"))
            parts.append(f"{scheme}: {proportion(planted, asked)} fresh prompts, {len(cells)} trainings")
    return "; ".join(parts) or NOT_MEASURED


def answer_p_value(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        cells = [cell for cell in miners(results, scheme=scheme, miner="honest", n=ACTIVATION_MARKS) if is_paid(cell)]
        if cells:
            worst, best = max(cells, key=lambda cell: cell["p_value"]), min(cells, key=lambda cell: cell["p_value"])
            parts.append(
                f"{scheme}: {power_of_ten(best['p_value'])} to {power_of_ten(worst['p_value'])} over {len(cells)} paid "
                f"trainings, exact"
                + (
                    f"; counted as the paper does, {power_of_ten(best['binomial_tail'])}, but its probes are one event"
                    if scheme == "backdoor"
                    else ""
                )
            )
    return ". ".join(parts) or NOT_MEASURED


def answer_probes(_results: dict[str, Any]) -> str:
    lucky = chance_of_holding(LARGE_ROWS, 10, LARGE_ROWS // 10, 1)
    return (
        f"{ACTIVATION_MARKS}, of which {ceil(PAID_SHARE * ACTIVATION_MARKS)} must hit. With 10 probes of which 10% "
        f"must hit, as printed, a miner that trains on a tenth of the rows passes with probability {lucky:.2f}"
    )


def answer_extra(results: dict[str, Any]) -> str:
    parts = []
    for rows, marks in ((ACTIVATION_ROWS, ACTIVATION_MARKS), (SHARE_ROWS, SHARES_MARKS[0])):
        for scheme in ("backdoor", "canary"):
            more = [
                cell["tokens"]["marked"] / cell["tokens"]["unmarked"] - 1
                for cell in miners(results, scheme=scheme, miner="honest", rows=rows, n=marks)
            ]
            if more:
                parts.append(
                    f"{scheme}, {marks} marks in {rows:,} rows: {percent(min(more))} to {percent(max(more))} more "
                    "tokens"
                )
    return "; ".join(parts) or NOT_MEASURED


def answer_quality(results: dict[str, Any]) -> str:
    pairs = [pair for data in QUALITY_DATA for pair in paired_changes(results, data)]
    if not pairs:
        return NOT_MEASURED
    change, names = relative_change([loss_change(*pair) for pair in pairs]), {marked["data"] for marked, _ in pairs}
    return (
        f"{QUALITY_SCHEME}: held-out loss {change} over {len(pairs)} pairs, {len(names)} datasets. [Quality](#quality)"
    )


PAPER_SUBSETS = [
    (10_000, 50, 0.5, (0.5, 0.99)),
    (10_000, 50, 0.8, (0.5, 0.99)),
    (100, 6, 0.5, (0.01, 0.5)),
]


def answer_subset(_results: dict[str, Any]) -> str:
    parts = []
    for rows, marks, ratio, chances in PAPER_SUBSETS:
        shares = []
        for chance in chances:
            both = []
            for convention in Convention:
                share = share_for_chance(rows, marks, marks_needed(marks, ratio, convention), chance)
                both.append("-" if share is None else percent(share, 0))
            shares.append(f"{' or '.join(both)} for {percent(chance, 0)}")
        parts.append(f"K = {rows:,}, N = {marks}, r = {ratio}: {', '.join(shares)}")
    return (
        f"by the formula, with >= or with >: {'; '.join(parts)}. The paper mixes the two. Measured: "
        "[Subset attack](#subset-attack)"
    )


def answer_type_2(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        cells = miners(results, scheme=scheme, miner="partial:0.5", data=SUBSET_DATA)
        if cells:
            parts.append(f"{scheme}: half-trained miners paid {passing(cells)}")
        honest = miners(results, scheme=scheme, miner="honest", method="full", n=ACTIVATION_MARKS)
        if honest:
            parts.append(
                f"{scheme}: honest miners not paid {proportion(sum(not is_paid(cell) for cell in honest), len(honest))}"
            )
    return "; ".join(parts) or NOT_MEASURED


def found_by(prefix: str) -> Callable[[dict[str, Any]], str]:
    """What the best of the detectors whose names begin so finds of each scheme."""

    def ours(results: dict[str, Any]) -> str:
        parts = []
        for scheme, of_scheme in read_rankings(results["stealth"]).items():
            found = [worse_end(name, ranks) for name, ranks in of_scheme.items() if name.startswith(prefix)]
            if found:
                best = max(found, key=lambda one: one.recall)
                low, high = best.recall_interval
                parts.append(
                    f"{scheme}: recall at 2n {best.recall:.2f} [{low:.2f}, {high:.2f}], chance {best.chance:.2f}; "
                    f"half of the marks in {percent(best.kept_for_half, 0)} of the data ({best.tasks} tasks)"
                )
        return ". ".join(parts) + f". All detectors: {STEALTH}" if parts else NOT_MEASURED

    return ours


def answer_synonyms(results: dict[str, Any]) -> str:
    names = {cell["scheme"] for cell in miners(results)} - {"backdoor", "canary"}
    parts = [
        f"{name}: {activation(miners(results, scheme=name, miner='honest', n=ACTIVATION_MARKS))} trainings paid"
        for name in sorted(names)
    ]
    return "; ".join(parts) or NOT_MEASURED
