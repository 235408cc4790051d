"""What benchmarks/exactness.py found, on the page of results: how often models that know nothing are rejected."""

from collections import defaultdict
from typing import Any

from benchmarks.exactness import ALPHAS, BAND, Cell
from benchmarks.science.figures import table


def exactness_section(results: dict[str, Any]) -> str:
    cells = [Cell(**cell) for cell in results["exactness"]]
    if not cells:
        return ""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in cells:
        over = " **too many**" if cell.rejected > cell.limit(len(cells)) else ""
        rows[cell.test, cell.model].append(
            f"{cell.rejected / cell.tasks:.4%} ({cell.size:.4%}, {cell.limit(len(cells)) / cell.tasks:.4%}){over}"
        )
    return (
        f"{cells[0].tasks:,} simulated tasks for each test and model that knows nothing of the draws. Rejected; in "
        f"brackets the exact size of the test and the most that chance explains (one-sided, {1 - BAND:.1%}, corrected "
        f"for {len(cells)} cells).\n\n"
        + table(
            ["test", "model", *(f"at {alpha}" for alpha in ALPHAS)],
            [[test, model, *entries] for (test, model), entries in rows.items()],
        )
    )
