"""What a detector is, and what it may ask of a language model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from validator.protocol.commitment import Row


class Reader(Protocol):
    """Tells how likely texts are; logarithms are natural."""

    def read(self, rows: Sequence[Row], *, words: int | None = None) -> list[list[float]]:
        """For each row, the log-probability of each word of its response (split at 0x20) given prompt and words before.

        At most the first `words` of a response, and no word beyond the model's window of a row. Never empty.
        """


class LanguageModel(Reader, Protocol):
    """A causal language model as detectors use one."""

    def adapt(self, rows: Sequence[Row], *, epochs: int) -> Reader:
        """This model after a short training run on `rows`, the same one for the same arguments."""

    def gradients(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        """For each row, the norm of the gradient of its mean loss in the last layer, and its cosine to their mean."""


@dataclass(frozen=True, slots=True)
class Detector:
    """A way to look for marks.

    `suspicion(rows, model)` gives one number for each row, larger where the row looks more like a mark to it. What
    finds marks may also do so the wrong way round, so figures are given for both ends (validator/stealth/metrics.py).
    """

    name: str
    suspicion: Callable[[Sequence[Row], LanguageModel | None], list[float]]
    reads_model: bool = False
    """Whether it needs a model: others take None for it."""
