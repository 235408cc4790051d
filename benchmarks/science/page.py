"""docs/results.md and its plots, from the stored cells; a test holds them together."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger
from benchmarks.science import RESULTS, baselines, costs, sections
from benchmarks.science.claims import render_claims
from benchmarks.science.coverage import coverage_section, coverage_table
from benchmarks.science.exactness import exactness_section
from benchmarks.science.figures import miners, table
from benchmarks.science.plots import draw_plots, save_plot
from benchmarks.science.schemes import schemes_section, schemes_table
from benchmarks.science.stealth import stealth_section

SECTIONS = [
    ("Schemes", schemes_section),
    ("Activation", sections.activation_section),
    ("When it is learnt", sections.epochs_section),
    ("How many marks", sections.shares_section),
    ("Subset attack", sections.subset_section),
    ("Coverage", coverage_section),
    ("Exactness", exactness_section),
    ("Stealth", stealth_section),
    ("Quality", sections.quality_section),
    ("Baseline: loss of the training rows", baselines.loss_section),
    ("Baseline: proof of learning", baselines.proof_of_learning_section),
    ("Cost of verification", costs.costs_section),
    ("Altered words", sections.altered_section),
]


BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
SCHEME_PAGES = {
    "backdoor": ("backdoor", "backdoor-groups", "backdoor-synonyms"),
    "canary": ("canary", "canary+coverage"),
    "coverage": (),
}
"""The schemes that share a page of docs/schemes; `coverage` is no scheme of its own."""


def read_results() -> dict[str, Any]:
    """What the campaigns have stored: `cells` and `machine` of this one, `stealth`, `exactness`, `coverage` lines."""
    stealth = Ledger(RESULTS.with_name("stealth.json")).read()
    coverage = RESULTS.with_name("coverage.jsonl")
    lines = coverage.read_text().splitlines() if coverage.exists() else []
    exactness = RESULTS.with_name("exactness.json")
    return Ledger(RESULTS).read() | {
        "stealth": stealth["cells"],
        "coverage": [json.loads(line) for line in lines],
        "exactness": json.loads(exactness.read_text()) if exactness.exists() else [],
    }


def rewrite_page(docs: Path) -> None:
    """Write the page, its plots, and the figures on the pages of the schemes."""
    results = read_results()
    (docs / "results.md").write_text(render_page(results))
    for name in SCHEME_PAGES:
        path = docs / "schemes" / f"{name}.md"
        path.write_text(with_figures(path.read_text(), render_figures(results, name)))
    figures = docs / "figures"
    figures.mkdir(exist_ok=True)
    for stale in figures.glob("*.svg"):
        stale.unlink()
    for name, figure in draw_plots(results).items():
        save_plot(figure, figures / f"{name}.svg")


def render_figures(results: dict[str, Any], name: str) -> str:
    """What stands between the marks of a scheme's page."""
    figures = coverage_table(results) if name == "coverage" else schemes_table(results, SCHEME_PAGES[name])
    return f"{figures or 'Not measured yet.'}\n"


def with_figures(page: str, figures: str) -> str:
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{figures}{END}{rest.split(END)[1]}"


def find_mixed_tasks(results: dict[str, Any]) -> list[str]:
    """Tasks whose cells did not have the same marks, since the code has changed between them."""
    digests: dict[str, set[str]] = defaultdict(set)
    for cell in miners(results):
        task = f"{cell['data']}/{cell['rows']}x{cell['n']}/{cell['scheme']}/{cell['model']}/{cell['seed']}"
        digests[task].add(cell.get("digest", ""))
    return sorted(task for task, found in digests.items() if len(found) > 1)


def render_page(results: dict[str, Any]) -> str:
    machine = results.get("machine")
    where = ""
    if machine:
        where = (
            f"Measured on {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, Python "
            f"{machine['python']}, torch {machine['packages']['torch']}. "
        )
    mixed = find_mixed_tasks(results)
    parts = [
        "# Results\n",
        (
            "The claims of the vTune paper, measured again. Written by `python -m benchmarks --page` from the cells of "
            "`benchmarks/science.json`; `python -m benchmarks science/` measures those that are missing, any number of "
            f"processes at a time. {where}So far {len(results['cells'])} cells.\n"
        ),
        (
            "Unless said otherwise: the embedded model, a Llama of 1.38 million parameters; rows that it never saw, "
            "cut to 128 tokens; the whole model trained, `backdoor` 5 epochs at 3e-3, `canary` 12 at 4e-3, batches "
            "of 4 (LoRA: rank 32, rank-stabilised, all linear modules, 10 epochs at 3e-3 and 12 at 5e-3). **Nothing "
            "here was measured on a large language model**: epochs, rates and activations do not carry over.\n"
        ),
        *[f"**To be measured again** (`--fresh`): the marks have changed between cells of {', '.join(mixed)}.\n"]
        * bool(mixed),
        "## The paper's figures and ours\n",
        table(["claim", "paper", "where", "here"], render_claims(results)),
    ]
    for title, render in SECTIONS:
        parts += [f"## {title}\n", render(results) or "Not measured yet.\n"]
    return "\n".join(parts)
