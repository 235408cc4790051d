"""The README's tables of single parts: stages of a round, probing, rules and journal, evidence, memory."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.repeats import REPEATS, spread


def stages_table(rounds: Sequence[dict[str, Any]]) -> str:
    stages = [cell["stages"] for cell in rounds if "stages" in cell]
    if not stages:
        return ""
    lines = [
        (
            f"**Where the seconds of `make demo` go**, {len(stages)} seeds; a stage of the tasks ends when the last of "
            "them has left it:\n"
        ),
        "| stage | seconds, median (range) | of the round |",
        "|---|---|---|",
    ]
    for stage in stages[0]:
        share = median(each[stage] / sum(each.values()) for each in stages)
        lines.append(f"| {stage} | {spread([each[stage] for each in stages], 2)} | {share:.1%} |")
    return "\n".join(lines) + "\n"


def probes_table(cells: dict[str, Any]) -> str:
    runs = [cell["probes"] for name, cell in cells.items() if name.startswith("probes/")]
    if not runs:
        return ""
    lines = [
        (
            "**Probing**: the daemon's client over pinned TLS, and a miner on the same machine that looks its replies "
            f"up and signs them, one probe under way for each miner; median (range) of {REPEATS} runs:\n"
        ),
        "| miners | probes/s | of bare aiohttp's | p50, ms | p99, ms | CPU, ms a probe | loop lag p99, ms | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in sorted(runs, key=lambda run: int(run["miners"])):
        share = _ratios(run["per_s"], run["bare_per_s"])
        lines.append(
            f"| {run['miners']} | {spread(run['per_s'])} | {spread(share, 2)} | {spread(run['p50_ms'], 1)} | "
            f"{spread(run['p99_ms'], 1)} | {spread(run['cpu_ms'], 2)} | {spread(run['lag_p99_ms'], 1)} | "
            f"+{run['growth_mib']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def tasks_text(cells: dict[str, Any]) -> str:
    if not {"tasks/rules", "tasks/journal"} <= cells.keys():
        return ""
    rules, journal = cells["tasks/rules"], cells["tasks/journal"]["rates"]
    return (
        f"**Rules and journal**: a paid task of 16 probes is {rules['events']} events. The rules alone get through "
        f"{spread(rules['rates']['tasks'])} tasks/s; with the journal, {rules['commits']} commits a task synced to the "
        f"disk, {spread(journal['tasks'], 1)}, which is {spread(_ratios(journal['tasks'], journal['bare']), 2)} times "
        "what SQLite does with as many commits of one row.\n"
    )


def evidence_table(cells: dict[str, Any]) -> str:
    trees = {int(name.split("/")[2]): cell["rates"] for name, cell in cells.items() if name.startswith("evidence/tree")}
    signatures = cells.get("evidence/signatures")
    if not trees or not signatures:
        return ""
    rates = signatures["rates"]
    lines = [
        (
            f"**Evidence**, one thread: {spread(rates['signed'])} transcripts signed a second and "
            f"{spread(rates['recovered'])} signers recovered, {_share(rates, 'signed')} and "
            f"{_share(rates, 'recovered')} of what libsecp256k1 does on a digest. Rows and proofs a second, and how "
            "much of building a tree is Keccak-256 itself:\n"
        ),
        "| rows | hashed | put into a tree | proofs | proofs verified | Keccak |",
        "|---|---|---|---|---|---|",
    ]
    for k, tree in sorted(trees.items()):
        keccaks = [(2 * k - 1) / k * per_s for per_s in tree["in a tree"]]
        share = median(_ratios(keccaks, tree["keccak"]))
        each = " | ".join(spread(tree[name]) for name in ("hashed", "in a tree", "proofs", "verified"))
        lines.append(f"| {k:,} | {each} | {share:.0%} |")
    return "\n".join(lines) + "\n"


def memory_text(cells: dict[str, Any]) -> str:
    daemon = cells.get("memory/daemon")
    plantings = [cell["memory"] for name, cell in cells.items() if name.startswith("memory/planting/")]
    if not daemon or not plantings:
        return ""
    levels = daemon["memory"]["mib"]
    peaks = ", ".join(f"{max(mib):.0f}" for mib in levels.values())
    planting = "; ".join(
        f"{spread(run['mib'])} for {run['rows']:,} rows, in {spread(run['seconds'], 1)} s" for run in plantings
    )
    return (
        f"**Memory** (PSS): the daemon's process has {peaks} MiB with {', '.join(levels)} tasks open; `touchstone "
        f"plant` with the embedded model, PyTorch included, at most {planting}.\n"
    )


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _share(rates: dict[str, list[float]], name: str) -> str:
    return f"{median(_ratios(rates[name], rates[f'{name}, bare'])):.0%}"
