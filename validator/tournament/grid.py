"""A tournament as its author writes it, in TOML, and the plan of rounds that follows from it.

A round's miners share rows, marks and chain, so many strategies in one round cost little more than their own training;
what becomes of a miner does not depend on the others, but for those that copy or act together, which are listed as one
company. The order of a grid's lines decides who plays with whom: to add to a grid that has been played, append a part.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from validator.errors import BadInput, first_problem
from validator.simulation.options import MAX_MINERS
from validator.simulation.scenario import STRICT, beside
from validator.tournament.rounds import Round

SHIPPED = Path(__file__).parent / "grids"
Settings = dict[str, Any]
Company = tuple[str, ...]
"""Strategies that must meet in one round, such as a miner that copies and one to copy from."""


class Part(BaseModel):
    """Strategies, each played under every scheme, all parameters and every seed that the part names."""

    model_config = STRICT

    strategies: Annotated[list[str | Annotated[list[str], Field(min_length=2)]], Field(min_length=1)]
    """Each alone, or a list of those that must meet in one round, such as a miner that copies and one to copy from."""
    schemes: list[str] | None = None
    """Names of the grid's schemes; without any all of them."""
    parameters: list[str] | None = None
    """Names of the grid's parameters; without any all of them."""
    first_seed: Annotated[int, Field(ge=0)] = 0
    """The first of the seeds."""
    seeds: Annotated[int, Field(ge=1, le=10_000)]
    """How many: each draws rows, marks and training anew."""

    @property
    def companies(self) -> list[Company]:
        return [(entry,) if isinstance(entry, str) else tuple(entry) for entry in self.strategies]


class Grid(BaseModel):
    """What a tournament plays."""

    model_config = STRICT

    name: str
    """Of the tournament."""
    about: str
    """What is played, and why."""
    miners_per_round: Annotated[int, Field(ge=1, le=MAX_MINERS)] = 16
    """At most so many strategies share rows, marks and chain."""
    round_limit_s: Annotated[float, Field(gt=0)] = 3600.0
    """Wall-clock seconds after which a round has failed."""
    settings: Settings = Field(default_factory=dict)
    """Of every round, in a scenario's words."""
    schemes: Annotated[dict[str, Settings], Field(min_length=1)]
    """Settings on top, under names for the tables."""
    parameters: Annotated[dict[str, Settings], Field(min_length=1)] = Field(
        default_factory=lambda: dict[str, Settings](default={})
    )
    """Settings on top of those, under names for the tables; one without any, `default`, if there are none."""
    parts: Annotated[list[Part], Field(min_length=1)]
    """What is played, one after the other within a seed."""

    def plan(self) -> list[Round]:
        """Every round once: all that has the first seed before any that has the second, so that a tournament that is
        stopped has seen everybody.
        """
        rounds = [
            Round(scheme, parameters, seed, strategies, self._settings(scheme, parameters))
            for part in self.parts
            for seed in range(part.first_seed, part.first_seed + part.seeds)
            for scheme in part.schemes or self.schemes
            for parameters in part.parameters or self.parameters
            for strategies in pack(part.companies, self.miners_per_round)
        ]
        by_key = {planned.key: planned for planned in sorted(rounds, key=lambda planned: planned.seed)}
        return list(by_key.values())

    def _settings(self, scheme: str, parameters: str) -> Settings:
        return merge(self.settings, self.schemes[scheme], self.parameters[parameters])


def find_grid(name_or_path: str) -> Path:
    """The file of a grid that is shipped, or the path itself."""
    shipped = SHIPPED / f"{name_or_path}.toml"
    return shipped if Path(name_or_path).name == name_or_path and shipped.is_file() else Path(name_or_path)


def load_grid(path: Path) -> Grid:
    """BadInput with one line that names the file and what is wrong; relative paths are taken from where it is."""
    try:
        grid = Grid.model_validate(_beside(path, tomllib.loads(path.read_text())))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no TOML: {error}") from None
    except ValidationError as error:
        # A name that nobody knows first: it is why another is missing.
        mistakes = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] != "extra_forbidden")
        raise BadInput(f"{path}: {first_problem(mistakes)}") from None
    for mistake in _mistakes(grid):
        raise BadInput(f"{path}: {mistake}")
    return grid


def _beside(path: Path, tables: Settings) -> Settings:
    """Settings with paths that hold wherever a round is played."""
    resolved = dict(tables)
    if isinstance(tables.get("settings"), dict):
        resolved["settings"] = beside(path.absolute(), tables["settings"])
    for kind in ("schemes", "parameters"):
        if isinstance(tables.get(kind), dict):
            resolved[kind] = {
                name: beside(path.absolute(), settings) if isinstance(settings, dict) else settings
                for name, settings in tables[kind].items()
            }
    return resolved


def _mistakes(grid: Grid) -> Iterator[str]:
    for number, part in enumerate(grid.parts):
        for kind, known, named in (
            ("schemes", grid.schemes, part.schemes),
            ("parameters", grid.parameters, part.parameters),
        ):
            for name in named or ():
                if name not in known:
                    yield f"parts.{number}.{kind}: there is no {name!r} in [{kind}]; known are {', '.join(known)}"
        for company, times in Counter(part.companies).items():
            if times > 1:
                yield f"parts.{number}.strategies: {', '.join(company)} is listed {times} times; once is enough"
            if len(company) > grid.miners_per_round:
                yield f"parts.{number}.strategies: {len(company)} in one company, but miners_per_round is smaller"


def pack(companies: Sequence[Company], miners_per_round: int) -> list[tuple[str, ...]]:
    """Rounds of at most so many miners, first fit in order; whoever is in a round already is not added again."""
    rounds: list[Counter[str]] = []
    for company in map(Counter, companies):
        home = next((found for found in rounds if (found | company).total() <= miners_per_round), None)
        if home is None:
            rounds.append(Counter(company))
        else:
            home |= company
    return [tuple(found.elements()) for found in rounds]


def merge(*layers: Settings) -> Settings:
    """Later layers win, key by key, in tables within tables too."""
    merged: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
