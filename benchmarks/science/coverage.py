"""What the coverage campaign (benchmarks/coverage.py) says, on the page of results: the estimated trained share."""

from collections import defaultdict
from statistics import mean
from typing import Any

from benchmarks.coverage import SPECS, build_reference, judge_lines
from benchmarks.science.figures import proportion, table
from validator.errors import BadInput


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
    rows = []
    for spec, verdicts in judge_specs(results).items():
        for share in sorted({verdict["share"] for verdict in verdicts}):
            of = [verdict for verdict in verdicts if verdict["share"] == share]
            errors = [verdict["estimate"] - share for verdict in of]
            covered = sum(verdict["interval"][0] <= share <= verdict["interval"][1] for verdict in of)
            rows.append(
                [
                    spec,
                    f"{share:.2f}",
                    str(len(of)),
                    f"{mean(verdict['estimate'] for verdict in of):.3f}",
                    f"{mean(map(abs, errors)):.3f}",
                    proportion(covered, len(of)),
                    f"{max(verdict['log10_p'] for verdict in of):.0f}",
                ]
            )
    if not rows:
        return ""
    return (
        "1,000 rows, one marked word in each, 3 epochs; the reference is calibrated on other rows of the dataset.\n\n"
        "![Estimated share against the true one](figures/coverage.svg)\n\n"
        + table(
            [
                "spec",
                "true share",
                "runs",
                "mean estimate",
                "mean absolute error",
                "95% intervals that cover",
                "largest log10 p",
            ],
            rows,
        )
    )
