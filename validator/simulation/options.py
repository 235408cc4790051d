"""What `touchstone simulate` was asked for, checked before anything starts."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validator.errors import BadInput
from validator.plan.spec import TrainingSpec
from validator.protocol.commitment import Row
from validator.protocol.state import Weights
from validator.protocol.verdict import Thresholds

DEFAULT_ROWS = 300
MAX_MINERS = 64


@dataclass(frozen=True, slots=True)
class MinerPlan:
    """One simulated miner: its name in tables, its strategy as `miner_sim` writes it, and what that is: honest, an
    honest miner's mistake, or a cheat.
    """

    name: str
    strategy: str
    intent: str


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """A simulation, ready to run. `model` is a directory or a Hugging Face id; `chain` what `--chain` takes."""

    miners: tuple[MinerPlan, ...]
    strategies: tuple[Path, ...]
    """Files of strategies that are not the product's."""
    scheme: str
    rows: tuple[Row, ...]
    data_name: str
    model: str
    spec: TrainingSpec
    thresholds: Thresholds
    weights: Weights
    min_coverage_bps: int
    seed: int
    chain: str
    first_port: int
    training_workers: int
    funder_key_file: Path | None
    directory: Path
    is_keeping_models: bool
    node_delay_s: float = 0.0
    node_loss: float = 0.0
    block_time_s: int | None = None
    """As in a scenario's faults."""


def parse_miners(text: str) -> dict[str, dict[str, Any]]:
    """`strategy=count,...` as the population of a scenario, a group for each strategy; BadInput if it is not that."""
    pair = r"\s*([^=]+?)=(0*[1-9][0-9]{0,3})\s*"  # a strategy may hold commas: flagged:DETECTOR,0.3
    if not re.fullmatch(f"{pair}(?:,{pair})*", text):
        raise BadInput("--miners takes strategy=count pairs such as honest=2,base=1, with counts of 1 or more")
    groups: dict[str, dict[str, Any]] = {}
    for strategy, count in re.findall(f"{pair}(?:,|$)", text):
        group = groups.setdefault(strategy, {"strategy": strategy, "count": 0})
        group["count"] += int(count)
    return groups


def default_rows(count: int, seed: int) -> list[Row]:
    """The project's own generated dataset, of rows that the embedded model never saw."""
    from validator.base_model.grammar import generate_rows

    return generate_rows(count, seed)
