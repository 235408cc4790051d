"""What `touchstone simulate` was asked for, checked before anything starts."""

import re
from dataclasses import dataclass
from pathlib import Path

from validator.errors import BadInput
from validator.plan.spec import TrainingSpec
from validator.protocol.commitment import Row
from validator.protocol.state import Weights
from validator.protocol.verdict import Thresholds

DEFAULT_ROWS = 300
MAX_MINERS = 64


@dataclass(frozen=True, slots=True)
class MinerPlan:
    """One simulated miner: its name in tables, and its strategy as `miner_sim` writes it."""

    name: str
    strategy: str


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """A simulation, ready to run. `model` is a directory or a Hugging Face id; `chain` what `--chain` takes."""

    miners: tuple[MinerPlan, ...]
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


def parse_miners(text: str) -> tuple[MinerPlan, ...]:
    """Read `strategy=count,...`; BadInput with what would be right."""
    from miner_sim.strategies import parse_strategy

    miners: list[MinerPlan] = []
    for part in text.split(","):
        strategy, equals, count = part.strip().partition("=")
        if not equals or not re.fullmatch(r"0*[1-9][0-9]{0,3}", count):
            raise BadInput("--miners takes strategy=count pairs such as honest=2,base=1, with counts of 1 or more")
        parse_strategy(strategy)
        first = sum(miner.strategy == strategy for miner in miners)
        label = re.sub(r"[^A-Za-z0-9.]+", "-", strategy)[:40].strip("-")
        miners += [MinerPlan(f"{label}-{first + i + 1}", strategy) for i in range(min(int(count), MAX_MINERS + 1))]
    if len(miners) > MAX_MINERS:
        raise BadInput(f"at most {MAX_MINERS} miners can be simulated at once")
    return tuple(miners)


def default_rows(count: int, seed: int) -> list[Row]:
    """The project's own generated dataset, of rows that the embedded model never saw."""
    from validator.base_model.grammar import generate_rows

    return generate_rows(count, seed)
