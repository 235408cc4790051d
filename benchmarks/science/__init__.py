"""The claims of the vTune paper, measured again: small cells that add up over many stops, and a page of results.

`python -m benchmarks science/` measures what is missing; `python -m benchmarks --page` rewrites docs/results.md and its
plots from what there is.
"""

from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "science.json"


def describe(cell: dict[str, Any]) -> str:
    """One line for whoever watches the campaign."""
    if "refused" in cell:
        return f"refused: {cell['refused']}"
    seconds = sum(value for name, value in cell.get("cost", {}).items() if name.endswith("_s"))
    return f"{cell['hits']} of {cell['n']}, {seconds:.0f} s" if "hits" in cell else f"{seconds:.0f} s"
