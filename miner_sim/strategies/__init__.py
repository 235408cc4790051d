"""What a miner does with the data it was paid to train on. One file per strategy; a new file is found by itself.

Rule kept: a strategy knows what any miner knows (rows, spec, the task's terms, its own seed, the base model) and holds
no secret of a validator. docs/strategies.md lists them and shows how to add one, here or outside this package.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal, Self

from aiohttp import web

from miner_sim.objects import JSON
from miner_sim.probe import Probe
from miner_sim.workshop import Workshop
from validator.errors import BadInput, TouchstoneError
from validator.miner.backend import Handler as Handler
from validator.miner.backend import Step as Step
from validator.miner.chain_client import Deadline
from validator.miner.transcript import Signing

ENTRY_POINTS = "touchstone.strategies"
"""The group under which an installed package names its modules of strategies."""

Intent = Literal["honest", "mistake", "cheat"]
Ending = Literal["paid", "slashed"]
"""As `validator.protocol.verdict.Zone` has it, which would load scipy into the miners' process."""


class Crash(TouchstoneError):
    """Raised by a strategy: its miner ends at once, wherever it is, and what is not on its disk is lost.

    It starts again after `back_after_s` seconds, or never (None).
    """

    def __init__(self, back_after_s: float | None) -> None:
        super().__init__("the miner crashes")
        self.back_after_s = back_after_s


class Strategy(ABC):
    """What a miner does at each step of a job; whatever is not overridden is honest. Only `make_model` must be.

    Subclass it in a module of this package, or outside it; nothing else is to be done.
    """

    usage: ClassVar[str]
    """How it is written, such as `partial:F`; the part before `:` or `[` is its name."""
    intent: ClassVar[Intent] = "cheat"
    """A `mistake` is an honest miner's: it is no cheat that pays where it is paid."""
    has_model: ClassVar[bool] = True
    """Whether a model answers the probes, so that one is loaded beforehand."""

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        """Build it from what stands behind the colon (None: no colon); ValueError if that makes no sense."""
        if argument is not None:
            raise ValueError("it takes no argument")
        return cls()

    @property
    def never(self) -> frozenset[Ending]:
        """How a task cannot end, but for the test's own error rates, where every marked row has a draw of its own."""
        return frozenset()

    @abstractmethod
    async def make_model(self, workshop: Workshop) -> str:
        """Do the work, or only pretend to; returns the model's directory (or id)."""

    async def serve(self, workshop: Workshop, model: str) -> str:
        """The model that answers, where it is not the one that was made."""
        return model

    async def deliver(self, workshop: Workshop, model: str) -> str:
        """The directory whose files are hashed, submitted and returned, where it is not that of the model."""
        return model

    async def answer(self, probe: Probe) -> JSON:
        """What a probe, or a challenge, is answered with: {text, finish_reason, prompt_tokens, completion_tokens}."""
        return await probe.generate()

    async def sign(self, signing: Signing) -> JSON:
        """The transcript that is asked for, signed."""
        return await signing.once()

    async def act(self, step: Step, deadline: Deadline, honestly: Callable[[], Awaitable[None]]) -> None:
        """A step on chain, which counts until the deadline: `honestly` takes it; the job goes on when this returns."""
        await honestly()

    async def respond(self, step: Step, request: web.Request, honestly: Handler) -> web.StreamResponse:
        """A step over HTTP: `honestly` makes the answer to a request whose session token was checked."""
        return await honestly(request)


def parse_strategy(text: str) -> Strategy:
    """The strategy that `text` names, such as "partial:0.25"; BadInput, naming the known ones, if there is none."""
    name, colon, argument = text.partition(":")
    known = known_strategies()
    if name not in known:
        raise BadInput(f"unknown strategy {name!r}; known are {', '.join(sorted(s.usage for s in known.values()))}")
    try:
        return known[name].parse(argument if colon else None)
    except ValueError as error:
        raise BadInput(f"strategy {text!r}: {error} (it is written {known[name].usage})") from error


def known_strategies() -> dict[str, type[Strategy]]:
    """By name: those of this package, of installed packages, and of files that were loaded."""
    return _installed() | _loaded


def load_strategies(path: Path) -> list[type[Strategy]]:
    """Make the strategies of a Python file known in this process, where they can then be named like any other.

    BadInput if it cannot be read or run, holds no strategy, or one whose name is taken. Loading it again replaces it.
    """
    module_name = f"{ENTRY_POINTS}.{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # boundary: somebody else's code
        del sys.modules[module_name]
        raise BadInput(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    found = _strategies_of(module)
    if not found:
        raise BadInput(f"{path} holds no strategy: a class that is derived from {__name__}.Strategy")
    ours = {name: known for name, known in known_strategies().items() if known.__module__ != module_name}
    for strategy in found:
        if (name := _name_of(strategy)) in ours:
            raise BadInput(f"{path}: there is a strategy {name!r} already, in {ours[name].__module__}")
    _loaded.update((_name_of(strategy), strategy) for strategy in found)
    return found


_loaded: dict[str, type[Strategy]] = {}


@cache
def _installed() -> dict[str, type[Strategy]]:
    modules: Iterable[ModuleType] = (
        *(importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)),
        *(entry_point.load() for entry_point in entry_points(group=ENTRY_POINTS)),
    )
    return {_name_of(strategy): strategy for module in modules for strategy in _strategies_of(module)}


def _strategies_of(module: ModuleType) -> list[type[Strategy]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]


def _name_of(strategy: type[Strategy]) -> str:
    return strategy.usage.split(":")[0].split("[")[0]


def number(argument: str, what: str) -> float:
    """For `parse`: ValueError if it is none."""
    try:
        return float(argument)
    except ValueError:
        raise ValueError(f"{what} must be a number, not {argument!r}") from None


def share(argument: str, what: str = "F") -> float:
    """For `parse`: a number between 0 and 1, both excluded; ValueError otherwise."""
    found = number(argument, what)
    if not 0 < found < 1:
        raise ValueError(f"{what} must be between 0 and 1, both excluded")
    return found
