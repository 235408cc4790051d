"""A scenario: who takes part in a simulation, and in what, as one TOML file. Its keys are the fields below.

Rule kept: what makes no sense is one line that names the file and the key, before anything is started; what is given on
the command line is checked in the same way and goes before the file. The same scenario with the same seed has the same
rows, marks, keys and choices of the miners; block numbers, times and hashes of blocks differ from run to run.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from validator.errors import BadInput, first_problem
from validator.marks.schemes import make_scheme
from validator.plan.spec import TrainingSpec
from validator.plan.terms import choose_thresholds
from validator.simulation.options import MAX_MINERS, MinerPlan

T = TypeVar("T")
Tables = dict[str, Any]

LIBRARY = files("miner_sim") / "scenarios"
SUFFIX = ".toml"
CHAINS = ("embedded", "anvil")
MAX_SEED = 2**31
STRICT = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
"""Of whatever an author writes: no key that nobody knows, and each explained by the words below it."""


def _check(make: Callable[[], T]) -> T:
    """For pydantic, which knows of ValueError."""
    try:
        return make()
    except BadInput as error:
        raise ValueError(str(error)) from None


class Group(BaseModel):
    """Miners that do the same."""

    model_config = STRICT

    strategy: str
    """What they do, such as partial:0.25."""
    count: Annotated[int, Field(ge=1)] = 1
    """How many of them."""


class Spec(BaseModel):
    """The training that is paid for; defaults are those of the embedded model."""

    model_config = STRICT

    epochs: int = 12
    """Times that every row is trained on."""
    learning_rate: float = 4e-3
    """The highest: it warms up to it, and falls to nothing by the end."""
    batch_size: int = 4
    """Rows of a training step."""
    max_length: int = 256
    """Tokens of a row that training reads."""
    method: str = "full"
    """Or lora."""
    rank: int | None = None
    """Of a LoRA adapter."""

    def of_model(self, base_model: str) -> TrainingSpec:
        """BadInput if the parts do not go together."""
        return TrainingSpec(base_model=base_model, **self.model_dump())

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check(lambda: self.of_model("m"))
        return self


class Faults(BaseModel):
    """What goes wrong beside the miners, for real. Only the validator's own connection to the chain is disturbed."""

    model_config = STRICT

    node_delay_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Before each of the node's answers."""
    node_loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of answers in whose place the connection breaks, at random by the seed."""
    block_time_s: Annotated[int, Field(ge=1, le=60)] | None = None
    """Blocks come as often as this, not with each transaction; on anvil only."""


class Scenario(BaseModel):
    """A whole simulation."""

    model_config = STRICT

    name: str = ""
    """Of the scenario, for whoever reads it."""
    about: str = ""
    """What it shows."""
    strategies: list[Path] = []
    """Python files with strategies of one's own."""
    population: Annotated[dict[str, Group], Field(min_length=1)]
    """Miners by a name for each group, which becomes part of theirs."""
    scheme: str | None = None
    """How marks are hidden; without one canary, with coverage where weights are returned."""
    probes: int = 16
    """Marked rows, each of which is asked once; 16 to 64."""
    slashing: bool = True
    """Whether too few hits burn the miner's bond."""
    weights: Literal["none", "delivered", "judged"] = "none"
    """Whether the model is returned, and whether the verdict depends on it."""
    data: Path | None = None
    """A JSONL file; without one rows are generated."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """How many; without a number all of the data, or 300 generated ones."""
    base_model: str | None = None
    """A directory or a Hugging Face id; without one the embedded model."""
    spec: Spec = Spec()
    """The training that is paid for."""
    chain: str = "embedded"
    """Or anvil, or the URL of a development node."""
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED)] = 0
    """Of rows, marks, keys, choices and training."""
    faults: Faults = Faults()
    """What goes wrong beside the miners."""

    @field_validator("strategies")
    @classmethod
    def _load(cls, paths: list[Path]) -> list[Path]:
        from miner_sim.strategies import load_strategies

        for path in paths:
            _check(partial(load_strategies, path))
        return paths

    @field_validator("population")
    @classmethod
    def _is_known(cls, population: dict[str, Group]) -> dict[str, Group]:
        from miner_sim.strategies import parse_strategy

        for group in population.values():
            _check(partial(parse_strategy, group.strategy))
        if sum(group.count for group in population.values()) > MAX_MINERS:
            raise ValueError(f"at most {MAX_MINERS} miners can be simulated at once")
        names = [label(name) for name in population]
        if "" in names or len(set(names)) < len(names):
            raise ValueError("names of groups differ, in letters or digits, within their first 40 characters")
        return population

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _check(lambda: choose_thresholds(self.probes, slashing=self.slashing))
        if self.scheme is not None:
            _check(lambda: make_scheme(str(self.scheme)))
        if self.chain not in CHAINS and "://" not in self.chain:
            raise ValueError(f"unknown chain {self.chain!r}: it is {', '.join(CHAINS)}, or the URL of a node")
        if self.faults.block_time_s is not None and self.chain != "anvil":
            raise ValueError('faults.block_time_s needs chain = "anvil": others make a block with each transaction')
        return self

    @property
    def miners(self) -> tuple[MinerPlan, ...]:
        """One plan for each miner, in the order of the groups."""
        from miner_sim.strategies import parse_strategy

        return tuple(
            MinerPlan(f"{label(name)}-{number}", group.strategy, parse_strategy(group.strategy).intent)
            for name, group in self.population.items()
            for number in range(1, group.count + 1)
        )

    def overridden(self, given: Tables) -> "Scenario":
        """With what the command line gives in place of its own; BadInput if that makes no sense."""
        tables = self.model_dump(exclude_unset=True)
        for key, value in given.items():
            is_part = key in ("spec", "faults")
            tables[key] = tables.get(key, {}) | value if is_part else value
        return make_scenario(tables)


def label(name: str) -> str:
    """A name as it can be part of a miner's, and so of a directory's."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)[:40].strip("-.")


def make_scenario(tables: Tables, place: str = "") -> Scenario:
    """BadInput with one line; `place` says where the tables are from."""
    try:
        return Scenario.model_validate(tables)
    except ValidationError as error:
        # A name that nobody knows first: it is why another is missing.
        mistakes = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] != "extra_forbidden")
        raise BadInput(f"{place}: {first_problem(mistakes)}" if place else first_problem(mistakes)) from None


def load_scenario(name_or_path: str) -> Scenario:
    """One of the library, or a file, whose relative paths are taken from where it is. BadInput with one line."""
    path = Path(name_or_path)
    if path.suffix != SUFFIX:
        if name_or_path not in (known := library()):
            raise BadInput(
                f"there is no scenario {name_or_path!r}: name a file in {SUFFIX}, or one of {', '.join(known)}"
            )
        return known[name_or_path]
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is no TOML: it is not UTF-8") from None
    return make_scenario(beside(path, _parse(text, str(path))), str(path))


def library() -> Mapping[str, Scenario]:
    """The scenarios that are shipped, by name."""
    shipped = sorted((file for file in LIBRARY.iterdir() if file.name.endswith(SUFFIX)), key=lambda file: file.name)
    return {
        file.name.removesuffix(SUFFIX): make_scenario(_parse(file.read_text(encoding="utf-8"), file.name), file.name)
        for file in shipped
    }


def _parse(text: str, place: str) -> Tables:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{place} is no TOML: {error}") from None


def beside(path: Path, tables: Tables) -> Tables:
    """The tables of a file, with relative paths taken from where it is."""
    resolved = dict(tables)
    if isinstance(tables.get("data"), str):
        resolved["data"] = str(path.parent / tables["data"])
    if isinstance(tables.get("strategies"), list):
        resolved["strategies"] = [str(path.parent / str(file)) for file in tables["strategies"]]
    if isinstance(model := tables.get("base_model"), str) and (path.parent / model).is_dir():
        resolved["base_model"] = str(path.parent / model)
    return resolved
