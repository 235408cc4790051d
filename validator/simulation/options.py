"""What `touchstone simulate` was asked for, checked before anything starts."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from validator.errors import BadInput
from validator.protocol.commitment import Row, hash_spec
from validator.protocol.verdict import Thresholds
from validator.types import Hash32

DEFAULT_ROWS = 300
MAX_MINERS = 64

EMBEDDED_MODEL = str(files("validator.base_model"))
EMBEDDED_MODEL_NAME = "touchstone-base"


@dataclass(frozen=True, slots=True)
class MinerPlan:
    """One simulated miner: its name in tables, and its strategy as `miner_sim` writes it."""

    name: str
    strategy: str


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """How the customer wants the model trained; its JSON is the preimage of the terms' specHash.

    It names no seed: every miner takes its own. The defaults, here and on the command line, are measured on the
    embedded model and must not be carried over to large ones.
    """

    base_model: str
    epochs: int
    learning_rate: float
    batch_size: int = 4
    max_length: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 100:
            raise BadInput(f"the number of epochs is 1 to 100, not {self.epochs}")
        if not 0 < self.learning_rate <= 1:
            raise BadInput(f"nothing can be learnt at a learning rate of {self.learning_rate}: it is over 0, at most 1")

    def to_json(self) -> str:
        spec = {"method": "full"} | {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(spec, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> Hash32:
        return hash_spec(self.to_json())


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
