"""What the coverage campaign (benchmarks/coverage.py) says, on the page of results: the estimated trained share."""

from collections import defaultdict
from statistics import mean
from typing import Any

from benchmarks.coverage import DATASET, ROWS, SPECS, build_reference, judge_lines
from benchmarks.science.figures import proportion, table
from validator.config import MIN_COVERAGE_BPS
from validator.errors import BadInput
from validator.marks.coverage import count_marks


def judge_specs(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The verdicts of every spec whose reference is calibrated."""
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in results["coverage"]:
        lines[line["spec"]].append(line)
    judged = {}
    for spec in SPECS:
        try:
            verdicts = judge_lines(build_reference(spec, lines[spec]), lines[spec])
        except BadInput:  # too few calibration runs yet
            continue
        if verdicts:
            judged[spec] = verdicts
    return judged


def coverage_section(results: dict[str, Any]) -> str:
    figures = coverage_table(results)
    if not figures:
        return ""
    specs = "; ".join(_describe_spec(name, results) for name in judge_specs(results))
    return (
        f"{ROWS:,} rows of `{DATASET}`, {count_marks(ROWS)} of them with a word drawn from 4 candidates, each spec "
        f"with a reference of its own, calibrated on other rows of the dataset. {specs}. The less an honest training "
        "learns, the wider are the intervals of every share. The rate and rank of `lora-64` were chosen by what one "
        "honest training learned, before any share was estimated.\n\n"
        "![Estimated share against the true one](figures/coverage.svg)\n\n" + figures
    )


def _describe_spec(name: str, results: dict[str, Any]) -> str:
    """With what its calibration runs on all rows have learned."""
    spec = SPECS[name]
    method = spec.method if spec.rank is None else f"{spec.method} of rank {spec.rank}"
    lines = [line for line in results["coverage"] if line["spec"] == name and not line["is_test"]]
    ranks = [line["runs"][-1]["trained"] for line in lines if line["share"] == 1]
    learned = sum(rank[0] for rank in ranks) / sum(map(sum, ranks))
    return (
        f"`{name}`: {method}, {spec.epochs} epochs at {spec.learning_rate:g} in batches of {spec.batch_size}, after "
        f"which {learned:.0%} of the drawn words have become the likeliest"
    )


def coverage_table(results: dict[str, Any]) -> str:
    """Estimated shares by spec and true share; empty as long as there are none."""
    rows = []
    for spec, verdicts in judge_specs(results).items():
        shares = sorted({verdict["share"] for verdict in verdicts})
        for share in shares:
            of = [verdict for verdict in verdicts if verdict["share"] == share]
            rows.append([spec, f"{share:.2f}", *_describe(of), f"{max(verdict['log10_p'] for verdict in of):.0f}"])
        if len(partial := [verdict for verdict in verdicts if verdict["share"] < 1]) < len(verdicts):
            runs, _estimate, error, covered, _accepted = _describe(partial)
            rows.append([spec, "under 1, pooled", runs, "", error, covered, "", ""])
    header = ["spec", "true share", "runs", "mean estimate", "mean absolute error", "95% intervals that cover"]
    return table([*header, "accepted at 80%", "largest log10 p"], rows) if rows else ""


def _describe(verdicts: list[dict[str, Any]]) -> list[str]:
    """Runs, mean estimate, mean absolute error, intervals that cover, runs that are accepted."""
    errors = [abs(verdict["estimate"] - verdict["share"]) for verdict in verdicts]
    covered = sum(verdict["interval"][0] <= verdict["share"] <= verdict["interval"][1] for verdict in verdicts)
    accepted = sum(verdict["lower_bound"] >= MIN_COVERAGE_BPS / 10_000 for verdict in verdicts)
    return [
        str(len(verdicts)),
        f"{mean(verdict['estimate'] for verdict in verdicts):.3f}",
        f"{mean(errors):.3f}",
        proportion(covered, len(verdicts)),
        proportion(accepted, len(verdicts)),
    ]
