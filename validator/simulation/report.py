"""What came of a simulation: the figures, as the contract's events tell them, and the table that people look at."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from validator.app import ValidatorNode
from validator.coverage.result import CoverageResult
from validator.edges import contract as onchain
from validator.errors import Fatal
from validator.files import write_whole
from validator.marks.planting import PlantedDataset
from validator.protocol.machine import NEVER_OPENED
from validator.protocol.verdict import Verdict, Zone
from validator.simulation.options import SimulationOptions
from validator.simulation.world import World
from validator.types import Address, BlockNumber, TaskId, Wei

WEI_PER_ETHER = 10**18
LOG10_ALPHA = -3
"""A p-value under 0.001."""
STRATEGY_THAT_MUST_BE_PAID = "honest"


@dataclass(frozen=True)
class MinerResult:
    """One miner's row. Money in wei; `gas` in gas units per transaction of the task."""

    name: str
    strategy: str
    intent: str
    """honest, mistake (an honest miner's) or cheat."""
    address: str
    task_id: str
    hits: int | None
    n: int
    weights_hits: int | None
    """Of the returned weights, on the validator's machine; None where none came, or none were asked for."""
    coverage: dict[str, Any] | None
    """How much of the rows they were trained on, in the words of an evidence bundle; None without such marks."""
    p_value: float | None
    verdict: str
    outcome: str
    marks_trained_on: int | None
    balance_before_wei: int
    balance_after_wei: int
    to_miner_wei: int
    burned_wei: int
    transactions: dict[str, str]
    gas: dict[str, int]
    faults: list[str]
    """How it broke the protocol, of weights that were no use, and what it said of a job that failed."""
    cost: dict[str, float] | None
    """{cpu_s, flops} of its training, its search for marks and its answers, as it noted itself; None without a note."""


@dataclass(frozen=True)
class SimulationReport:
    scheme: str
    data: str
    rows: int
    seed: int
    spec: dict[str, Any]
    chain_id: int
    contract: str
    training_file_sha256: str
    generator: str
    p0: float
    false_pay_bound: float
    marks: list[dict[str, Any]]
    """Row index and drawn head of each mark: public after settlement."""
    miners: list[MinerResult]
    seconds: dict[str, float]

    @property
    def is_as_expected(self) -> bool:
        """Every honest miner was paid, and no other was."""
        return all(
            (miner.verdict == Zone.PAID) == (miner.strategy == STRATEGY_THAT_MUST_BE_PAID) for miner in self.miners
        )

    @property
    def honest_gas(self) -> dict[str, int]:
        """Gas of each transaction of the first paid miner's task; empty if there was none."""
        paid = next((miner for miner in self.miners if miner.verdict == Zone.PAID), None)
        # Where `settle` also closes the task, both steps are one transaction.
        return {step: gas for step, gas in paid.gas.items() if step != "close"} if paid else {}

    def write_json(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self) | {"is_as_expected": self.is_as_expected}, indent=2) + "\n")

    def print_table(self, console: Console) -> None:
        table = Table(
            title=f"{self.scheme} on {self.data}: {self.rows} rows, seed {self.seed}",
            box=SIMPLE_HEAD,
            padding=(0, 1),
            expand=True,
            pad_edge=False,
        )
        has_weights = any(miner.weights_hits is not None for miner in self.miners)
        for heading in ("miner", "strategy", "hits", "p-value", "verdict", "ETH"):
            table.add_column(heading, no_wrap=True)
        if has_weights:
            table.add_column("weights hit", no_wrap=True)
            table.add_column("trained on", no_wrap=True)
        else:
            table.add_column("settled in transaction", no_wrap=True, ratio=1, min_width=12)
        for miner in self.miners:
            hits = "-" if miner.hits is None else f"{miner.hits}/{miner.n}"
            p_value = "-" if miner.p_value is None else f"{miner.p_value:.2g}"
            table.add_row(
                miner.name,
                miner.strategy,
                hits,
                p_value,
                f"[{_STYLES[miner.verdict]}]{miner.verdict if miner.hits is not None else miner.outcome}[/]",
                _describe_money(miner),
                *(_describe_weights(miner) if has_weights else [miner.transactions.get("settle", "-")]),
            )
        console.print(table)
        console.print(
            f"P(paid) of a model that is independent of the draws: at most {self.false_pay_bound:.2g}.", highlight=False
        )
        gas = self.honest_gas
        if gas:
            steps = ", ".join(f"{step} {used:,}" for step, used in gas.items())
            console.print(f"Gas of an honest task: {sum(gas.values()):,} ({steps})", highlight=False)


_VERDICTS = {onchain.TaskStatus.PAID: Zone.PAID, onchain.TaskStatus.SLASHED: Zone.SLASHED}
_STYLES = {"paid": "green", "refunded": "yellow", "slashed": "red"}


def _describe_coverage(coverage: str | None) -> dict[str, Any] | None:
    if coverage is None:
        return None
    result = CoverageResult.from_json(coverage.encode())
    estimate = result.trained.estimate if result.trained else None
    return {
        "rows": result.rows,
        "drawn_word_first": result.top_ranks,
        "log10_p": result.log10_p,
        "trained_share": [estimate.share, estimate.low, estimate.high] if estimate else None,
        "low_bps": result.low_bps,
    }


def _describe_weights(miner: MinerResult) -> list[str]:
    return [
        "-" if miner.weights_hits is None else str(miner.weights_hits),
        "-" if miner.coverage is None else _describe_share(miner.coverage),
    ]


def _describe_share(coverage: Mapping[str, Any]) -> str:
    if coverage["trained_share"] is None:
        return "some of the rows" if coverage["log10_p"] < LOG10_ALPHA else "none that can be shown"
    return f"{max(0.0, min(1.0, coverage['trained_share'][0])):.0%}"


def _describe_money(miner: MinerResult) -> str:
    if miner.to_miner_wei:  # What burns then is the validator's (protocol, "Who gets what").
        return f"+{miner.to_miner_wei / WEI_PER_ETHER:g}"
    return f"-{miner.burned_wei / WEI_PER_ETHER:g} burned" if miner.burned_wei else "0"


async def build_report(
    options: SimulationOptions,
    world: World,
    node: ValidatorNode,
    names: Mapping[TaskId, str],
    wealth_before: Mapping[str, Wei],
    planted: PlantedDataset,
    job_faults: Mapping[str, str],
    seconds: dict[str, float],
) -> SimulationReport:
    """Gather the results from the contract's events; Fatal if they differ from what the validator counted."""
    head = await world.chain.head()
    events = await world.contract.events(world.first_block, BlockNumber(head.number))
    plans = {miner.name: miner for miner in options.miners}
    miners = []
    for task_id, name in names.items():
        role, state = world.miners[name], node.driver.states[task_id]
        steps = _find_steps(events, task_id, role.address)
        settled, closed = steps.get("settle"), steps.get("close")
        hits = p_value = None
        if isinstance(settled, onchain.TaskSettled):
            verdict = node.executor.judge(state, planted)
            if verdict.hits != settled.hits:
                raise Fatal(f"the contract counted {settled.hits} hits for {name}, the validator {verdict.hits}")
            hits, p_value = settled.hits, verdict.p_value
        miners.append(
            MinerResult(
                name=name,
                strategy=plans[name].strategy,
                intent=plans[name].intent,
                address=role.address,
                task_id=_hex(task_id),
                hits=hits,
                n=state.terms.n,
                weights_hits=node.executor.count_weights_hits(state, planted) if state.weights_answers else None,
                coverage=_describe_coverage(state.coverage),
                p_value=p_value,
                verdict=_VERDICTS.get(closed.outcome, Zone.REFUNDED) if closed else Zone.REFUNDED,
                outcome=closed.outcome.name.lower() if closed else NEVER_OPENED,
                marks_trained_on=_count_marks_trained_on(options.directory / "miners" / name, planted),
                balance_before_wei=wealth_before[name],
                balance_after_wei=await world.wealth_wei(role),
                to_miner_wei=closed.to_miner if closed else Wei(0),
                burned_wei=closed.burned if closed else Wei(0),
                transactions={step: _hex(event.log.tx_hash) for step, event in steps.items()},
                gas={step: (await world.chain.receipt(event.log.tx_hash)).gas_used for step, event in steps.items()},
                faults=[*state.faults, *filter(None, (state.weights_fault, job_faults.get(name)))],
                cost=_read_cost(options.directory / "miners" / name),
            )
        )
    probes_per_draw = planted.scheme.probes_per_draw(options.thresholds.n)
    null = Verdict(options.thresholds, 0, planted.null_probabilities, probes_per_draw)
    return SimulationReport(
        scheme=planted.scheme.name,
        data=options.data_name,
        rows=len(planted.rows),
        seed=options.seed,
        spec=json.loads(options.spec.to_json()),
        chain_id=world.chain.chain_id,
        contract=world.contract.address,
        training_file_sha256=hashlib.sha256(planted.training_file).hexdigest(),
        generator=planted.generator,
        p0=max(planted.null_probabilities),
        false_pay_bound=null.false_pay_bound,
        marks=[{"row_index": mark.row_index, "head": mark.draw.text} for mark in planted.marks],
        miners=miners,
        seconds=seconds,
    )


_STEP_OF = {
    onchain.TaskOpened: "open",
    onchain.TaskAccepted: "accept",
    onchain.ModelSubmitted: "submit",
    onchain.Challenged: "challenge",
    onchain.Answered: "answer",
    onchain.TaskSettled: "settle",
    onchain.TaskClosed: "close",
}


def _find_steps(events: Sequence[onchain.ContractEvent], task_id: TaskId, miner: Address) -> dict[str, Any]:
    """The event behind each transaction of a task, in the order of the chain, and the miner's withdrawal."""
    steps: dict[str, Any] = {}
    for event in events:
        if type(event) in _STEP_OF and getattr(event, "task_id", None) == task_id:
            steps[_STEP_OF[type(event)]] = event
        elif isinstance(event, onchain.Withdrawn) and event.account == miner:
            steps["withdraw"] = event
    return steps


def _count_marks_trained_on(home: Path, planted: PlantedDataset) -> int | None:
    """How many marked rows the simulated miner really trained on, by its own workshop's note; None without one."""
    notes = list(home.glob("jobs/*/trained_rows.json"))
    if not notes:
        return None
    trained = set(json.loads(notes[0].read_text()))
    return sum(mark.row_index in trained for mark in planted.marks)


def _read_cost(home: Path) -> dict[str, float] | None:
    """Added up over the miner's jobs; the miners write it, as far as they came (miner_sim/cost.py)."""
    notes = [json.loads(path.read_text()) for path in home.glob("jobs/*/cost.json")]
    if not notes:
        return None
    return {
        unit: sum(amount for note in notes for kind, amount in note.items() if kind.endswith(f"_{unit}"))
        for unit in ("cpu_s", "flops")
    }


def _hex(digest: bytes) -> str:
    return "0x" + digest.hex()
