"""What the stealth campaign (benchmarks/stealth.py) says, on the page of results: who finds the marks of a scheme."""

from collections import defaultdict
from typing import Any

from benchmarks.science.figures import percent, table
from validator.stealth.metrics import Ranking
from validator.stealth.summary import Pooled, find_breaches, pool, pool_all

PLANTED_ROWS = 300
SCHEMES = ("backdoor", "canary", "coverage")

Rankings = dict[str, dict[str, list[Ranking]]]


def read_rankings(cells: dict[str, Any]) -> Rankings:
    """By scheme and detector, of marks planted as the product plants them in 300 rows, and of coverage marks."""
    rankings: Rankings = defaultdict(lambda: defaultdict(list))
    for name, cell in cells.items():
        kind, *rest = name.split("/")
        scheme = rest[0] if kind == "battery" and f"of {PLANTED_ROWS}/" in name else kind
        if scheme in SCHEMES:
            for detector, ranking in cell.get("detectors", {}).items():
                rankings[scheme][detector].append(Ranking.from_json(ranking))
    return rankings


def worse_end(detector: str, rankings: list[Ranking]) -> Pooled:
    """Of the two ends of a detector's order, the one that finds more marks."""
    return max((pool(detector, rankings, "most"), pool(detector, rankings, "least")), key=lambda one: one.auc)


def stealth_section(results: dict[str, Any]) -> str:
    rankings = read_rankings(results["stealth"])
    if not rankings:
        return ""
    detectors = list(dict.fromkeys(detector for of_scheme in rankings.values() for detector in of_scheme))
    rows = []
    for detector in detectors:
        entries = []
        for scheme in SCHEMES:
            of_one = rankings.get(scheme, {}).get(detector)
            if not of_one:
                entries += ["", ""]
                continue
            one = worse_end(detector, of_one)
            low, high = one.auc_interval
            found = f"{one.recall:.2f} ({one.chance:.2f}); {percent(one.kept_for_half, 0)}"
            entries += [found, f"{one.auc:.2f} [{low:.2f}, {high:.2f}]"]
        rows.append([detector, *entries])
    header = ["detector"]
    for scheme in SCHEMES:
        counts = {len(of_one) for of_one in rankings.get(scheme, {}).values()}
        header += [f"{scheme} ({max(counts, default=0)} tasks): recall at 2n (chance); data kept for half", "AUC"]
    return (
        "The embedded model is the attacker's. Recall at 2n: marks among the 2n rows that a detector suspects most, "
        "from the end of its order that finds more; data kept for half: how much of the data must be kept, most "
        "suspicious first, to hold half of the marks (median over marks); AUC with DeLong's 95% interval. `canary` "
        "and `backdoor` mark 16 of 300 rows, `coverage` a quarter.\n\n"
        "![Who finds the marks](figures/stealth.svg)\n\n" + table(header, rows) + "\n" + _breaches(rankings)
    )


def _breaches(rankings: Rankings) -> str:
    """What breaks the bars that the project has set itself: open, as long as it stands here."""
    lines = []
    for scheme in ("canary", "coverage"):
        for one, is_significant in find_breaches(pool_all(rankings.get(scheme, {})), by_auc=scheme == "coverage"):
            so_far = "" if is_significant else "; so far not more than chance among so many detectors"
            lines.append(
                f"- `{scheme}`, {one.detector}, {one.end} suspicious first: recall {one.recall:.2f} "
                f"({one.chance:.2f}), half of the marks in {percent(one.kept_for_half, 0)} of the data, AUC "
                f"{one.auc:.2f}{so_far}."
            )
    if not lines:
        return "No detector breaks the bars (canaries: twice chance, half in 30% of the data; coverage: AUC 0.60).\n"
    return (
        "**Open**: what breaks the bars (canaries: twice chance, half in 30% of the data; coverage: AUC 0.60).\n\n"
        + "\n".join(lines)
        + "\n"
    )
