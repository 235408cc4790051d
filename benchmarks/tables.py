"""The README's figures, rendered from the results file; a test holds the two together."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median
from typing import Any

from scipy.stats import binomtest

from benchmarks import part_tables
from benchmarks.repeats import spread
from benchmarks.science.costs import costs_table

BEGIN, END = "<!-- figures: begin, written by `make bench` -->", "<!-- figures: end -->"


def rewrite_readme(readme: Path, results: dict[str, Any], science: dict[str, Any]) -> None:
    """Put the figures between their markers."""
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{render(results, science)}{END}{after}")


def render(results: dict[str, Any], science: dict[str, Any]) -> str:
    """All tables in Markdown; `science` is what docs/results.md is made of."""
    cells = results["cells"]
    machine = results["machine"]
    parts = [
        (
            f"Measured on {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, Python "
            f"{machine['python']}, torch {machine['packages']['torch']}, by `make bench`; "
            "`benchmarks/results.json` holds every run.\n"
        ),
        _demo(_of(cells, "demo/")),
        part_tables.stages_table(_of(cells, "demo/")),
        _real_data(cells),
        _schemes(cells),
        _fresh(cells),
        _daemon(cells),
        part_tables.memory_text(cells),
        part_tables.probes_table(cells),
        part_tables.tasks_text(cells),
        part_tables.evidence_table(cells),
        _tournament(cells.get("tournament/processes")),
        _audit(cells.get("audit/onchain")),
        costs_table(science),
        _gas(cells),
        _gas_of_rounds(_of(cells, "demo/"), cells.get("chain/anvil")),
    ]
    return "\n".join(part for part in parts if part)


def _of(cells: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    return [cell for name, cell in cells.items() if name.startswith(prefix)]


def _miners(rounds: Iterable[dict[str, Any]], strategy: str) -> list[dict[str, Any]]:
    return [miner for cell in rounds for miner in cell["miners"] if miner["strategy"] == strategy]


def _strategies(rounds: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(miner["strategy"] for cell in rounds for miner in cell["miners"]))


def _demo(rounds: list[dict[str, Any]]) -> str:
    if not rounds:
        return ""
    as_expected = sum(cell["exit_status"] == 0 for cell in rounds)
    lines = [
        (
            f"**`make demo`, {len(rounds)} seeds**: {as_expected} of {len(rounds)} rounds ended as they must (every "
            f"honest miner paid, no other); {spread([cell['wall_s'] for cell in rounds])} s, "
            f"peak memory {max(cell['peak_pss_mib'] for cell in rounds):,.0f} MiB (summed PSS).\n"
        ),
        "| strategy | miners | hits of 16, mean (range) | paid | refunded | slashed |",
        "|---|---|---|---|---|---|",
    ]
    for strategy in _strategies(rounds):
        miners = _miners(rounds, strategy)
        hits = [miner["hits"] for miner in miners]
        verdicts = Counter(miner["verdict"] for miner in miners)
        lines.append(
            f"| {strategy} | {len(miners)} | {mean(hits):.1f} ({min(hits)} to {max(hits)}) | {verdicts['paid']} | "
            f"{verdicts['refunded']} | {verdicts['slashed']} |"
        )
    return "\n".join(lines) + "\n"


def _real_data(cells: dict[str, Any]) -> str:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, cell in cells.items():
        if "/300/" in name or "/1000/" in name:
            data, rows, _seed = name.split("/")
            groups.setdefault((data, rows), []).append(cell)
    if not groups:
        return ""
    lines = [
        (
            "**Real data**, rows that the embedded model never saw, `canary`, two honest miners, one `base`, "
            "one `noise` each:\n"
        ),
        "| dataset | rows | seeds | honest hits of 16, mean (range) | base, noise hits | as expected |",
        "|---|---|---|---|---|---|",
    ]
    for (data, rows), rounds in groups.items():
        honest = [miner["hits"] for miner in _miners(rounds, "honest")]
        others = [miner["hits"] for miner in _miners(rounds, "base") + _miners(rounds, "noise")]
        as_expected = sum(cell["exit_status"] == 0 for cell in rounds)
        lines.append(
            f"| {data} | {rows} | {len(rounds)} | {mean(honest):.1f} ({min(honest)} to {max(honest)}) | "
            f"{min(others)} to {max(others)} | {as_expected} of {len(rounds)} |"
        )
    return "\n".join(lines) + "\n"


def _schemes(cells: dict[str, Any]) -> str:
    rounds = {scheme: _of(cells, f"schemes/{scheme}/") for scheme in ("canary", "backdoor")}
    if not all(rounds.values()):
        return ""
    lines = [
        (
            "**Why `canary` is the default**: hits [marks that the miner really trained on] of 16, one entry per seed, "
            "the same rows under both schemes:\n"
        ),
        "| strategy | canary | backdoor (the paper's scheme) |",
        "|---|---|---|",
    ]
    for strategy in _strategies(rounds["canary"]):
        entries = [
            ", ".join(f"{miner['hits']} [{miner['marks_trained_on']}]" for miner in _miners(rounds[scheme], strategy))
            for scheme in ("canary", "backdoor")
        ]
        lines.append(f"| {strategy} | {entries[0]} | {entries[1]} |")
    return "\n".join(lines) + "\n"


def _fresh(cells: dict[str, Any]) -> str:
    lines = [
        (
            "**Do marks show elsewhere?** Planted openings in the answers of an honest model to prompts that it never "
            "saw, without trigger (95% Clopper-Pearson interval):\n"
        ),
        "| scheme | planted openings | rate |",
        "|---|---|---|",
    ]
    for name, cell in cells.items():
        if name.startswith("fresh/"):
            count, asked = cell["fresh_signatures"], cell["fresh_prompts"]
            interval = binomtest(count, asked).proportion_ci(method="exact")
            rate = f"{count / asked:.1%} ({interval.low:.1%} to {interval.high:.1%})"
            where = name.removeprefix("fresh/")
            where += "" if " on " in where else " on generated rows"
            lines.append(f"| {where} | {count} of {asked} | {rate} |")
    return "\n".join(lines) + "\n" if len(lines) > 3 else ""


def _daemon(cells: dict[str, Any]) -> str:
    runs = [cell["daemon"] for cell in _of(cells, "daemon/") if "daemon" in cell]
    if not runs:
        return ""
    lines = [
        (
            "**The daemon**: 40 tasks of 16 probes at a time on anvil, with miners that look their answers up and so "
            "are never waited for; daemon, chain and miners share the machine:\n"
        ),
        "| blocks | tasks | paid | tasks/s | probes/s | processor | resident, middle and end | growth | lag p99.9 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        mib = [sample["mib"] for sample in run["samples"]]
        lines.append(
            f"| {run['chain']} | {run['tasks']:,} | {run['paid']:,} | {run['tasks_per_s']} | {run['probes_per_s']} | "
            f"{run['samples'][-1]['cpu_s'] / run['seconds']:.0%} | {mib[len(mib) // 2]:.0f}, {mib[-1]:.0f} MiB | "
            f"{run['growth']:.1%} | within {run['lag_p999_s'] * 1000:.0f} ms |"
        )
    if "daemon/restarts" in cells:
        restarts = cells["daemon/restarts"]["restarts"]
        lines.append(
            f"\nKilled {len(restarts['seconds'])} times with {restarts['in_flight']} tasks in flight, it was ready "
            f"again after {spread(restarts['seconds'], 1)} s."
        )
    return "\n".join(lines) + "\n"


def _tournament(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    figures = cell["tournament"]
    ratios = figures["ratios"]
    return (
        f"**A tournament** of {figures['rounds']} rounds is {spread(ratios, 2)} times as fast with 2 processes as "
        f"with 1, in {len(ratios)} alternating pairs.\n"
    )


def _audit(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    figures = cell["audit"]
    cpu_ms = figures["cpu_s"] / figures["tasks"] * 1000
    return (
        f"**An audit** of {figures['tasks']:,} settled tasks of {figures['n']} probes, from events alone, over HTTP: "
        f"{figures['tasks_per_s']} tasks/s, {cpu_ms:.0f} ms of a processor for each, {figures['peak_mib']:.0f} MiB at "
        f"most, which grow by {figures['growth']:.1%} in the second half.\n"
    )


def _gas(cells: dict[str, Any]) -> str:
    if "gas/erc20" not in cells:
        return ""
    new_holder, old_holder = cells["gas/erc20"]["gas"].values()
    deployment = cells["gas/deployment"]

    def in_transfers(gas: int) -> str:
        return f"{gas:,} ({gas / new_holder:.1f})"

    return "\n".join(
        [
            (
                f"**Gas**, on py-evm by the rules of Prague. In brackets: in ERC-20 transfers to a new holder, "
                f"{new_holder:,} (to an old one {old_holder:,}). Deploying the contract takes "
                f"{in_transfers(deployment['gas']['deployment'])}, for {deployment['runtime_bytes']:,} bytes of code.\n"
            ),
            _honest_tasks(cells, in_transfers),
            _settlements(cells, in_transfers),
            _calls(cells["gas/calls"]["gas"], in_transfers),
        ]
    )


def _honest_tasks(cells: dict[str, Any], in_transfers: Callable[[int], str]) -> str:
    tasks = {tuple(name.split("/")[2:]): cell["gas"] for name, cell in cells.items() if name.startswith("gas/task/")}
    steps = list(next(iter(tasks.values())))
    lines = [
        "A whole honest task, the first of all its parties, so that every slot is written for the first time:\n",
        f"| n | rows | {' | '.join(steps)} | together |",
        "|---|---|" + "---|" * (len(steps) + 1),
    ]
    for (n, k), gas in tasks.items():
        each = " | ".join(f"{gas[step]:,}" for step in steps)
        lines.append(f"| {n} | {int(k):,} | {each} | {in_transfers(sum(gas.values()))} |")
    return "\n".join(lines) + "\n"


def _settlements(cells: dict[str, Any], in_transfers: Callable[[int], str]) -> str:
    lines = [
        "`settle`, without proofs where it pays and with a proof of every row where it does not, and its calldata:\n",
        "| n | rows | paid | refunded | slash | bytes, paid | bytes, proved |",
        "|---|---|---|---|---|---|---|",
    ]
    is_floored = False
    for name, cell in cells.items():
        if name.startswith("gas/settle/"):
            n, k = name.split("/")[2:]
            entries = []
            for zone, gas in cell["gas"].items():
                at_floor = gas == cell["floor_gas"][zone]
                is_floored |= at_floor
                entries.append(in_transfers(gas) + "*" * at_floor)
            sizes = cell["calldata_bytes"]
            lines.append(f"| {n} | {int(k):,} | {' | '.join(entries)} | {sizes['paid']:,} | {sizes['slash']:,} |")
    if is_floored:
        lines.append("\n\\* the floor that EIP-7623 sets for this calldata; the work itself takes less.")
    return "\n".join(lines) + "\n"


def _calls(calls: dict[str, list[int]], in_transfers: Callable[[int], str]) -> str:
    lines = [
        "Every call, at n = 16 and 1,000 rows, a first and a later one of the same account where they differ:\n",
        "| call | first | later |",
        "|---|---|---|",
    ]
    for name, (first, *later) in calls.items():
        lines.append(f"| {name} | {in_transfers(first)} | {in_transfers(later[0]) if later else '-'} |")
    return "\n".join(lines) + "\n"


def _gas_of_rounds(rounds: list[dict[str, Any]], anvil: dict[str, Any] | None) -> str:
    paid = [miner for cell in rounds for miner in cell["miners"] if miner["verdict"] == "paid"]
    if not paid:
        return ""
    steps = ("open", "accept", "submit", "settle", "withdraw")
    totals = [sum(miner["gas"][step] for step in steps) for miner in paid]
    split = ", ".join(f"{step} {median(miner['gas'][step] for miner in paid):,.0f}" for step in steps)
    total = f"{median(totals):,.0f} ({min(totals):,} to {max(totals):,})"
    text = f"**The same in `make demo`**, at n = 16, by the product's own transactions: {total}: {split}."
    if anvil:
        on_anvil = [
            sum(miner["gas"][step] for step in steps) for miner in anvil["miners"] if miner["verdict"] == "paid"
        ]
        text += f" On anvil: {on_anvil[0]:,}."
    return text + "\n"
