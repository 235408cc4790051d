"""What a miner does with the data it was paid to train on. One file per strategy; a new file is found by itself.

Rule kept: a strategy knows what any miner knows (rows, spec, its own seed, the base model) and holds no secret.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Self

from miner_sim.objects import JSON
from miner_sim.workshop import Workshop
from validator.errors import BadInput
from validator.protocol.commitment import Row


class Strategy(ABC):
    """One way to make the model that is served. Subclass it in a module of this package; nothing else is to be done."""

    usage: ClassVar[str]
    """How it is written, such as `partial:F`; the part before `:` or `[` is its name."""
    has_model: ClassVar[bool] = True
    """Whether a model answers the probes; otherwise `answer` does."""

    @classmethod
    @abstractmethod
    def parse(cls, argument: str | None) -> Self:
        """Build it from what stands behind the colon (None: no colon); ValueError if that makes no sense."""

    @abstractmethod
    async def make_model(self, workshop: Workshop) -> str:
        """Do the work, or only pretend to; returns the model directory (or id) to serve."""

    def answer(self, rows: Sequence[Row], prompt: str, max_tokens: int) -> JSON:
        """A probe's answer where there is no model: what `child_calls.generate` returns, of at most `max_tokens`."""
        raise NotImplementedError


def parse_strategy(text: str) -> Strategy:
    """The strategy that `text` names, such as "partial:0.25"; BadInput, naming the known ones, if there is none."""
    name, colon, argument = text.partition(":")
    known = _known()
    if name not in known:
        raise BadInput(f"unknown strategy {name!r}; known are {', '.join(sorted(s.usage for s in known.values()))}")
    try:
        return known[name].parse(argument if colon else None)
    except ValueError as error:
        raise BadInput(f"strategy {text!r}: {error} (it is written {known[name].usage})") from error


@cache
def _known() -> dict[str, type[Strategy]]:
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
    ]
    return {strategy.usage.split(":")[0].split("[")[0]: strategy for strategy in found}


def no_argument(argument: str | None) -> None:
    if argument is not None:
        raise ValueError("it takes no argument")


def number(argument: str, what: str) -> float:
    try:
        return float(argument)
    except ValueError:
        raise ValueError(f"{what} must be a number, not {argument!r}") from None
