"""Whole openings, proposed by a capable language model for one answer, and which of them can be drawn from.

Rule kept: a draw is certified by the candidates being different heads of w words, so that no reply hits two of them:
whatever a model that is independent of the draw answers, it hits with probability at most 1 / k.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from validator.errors import BadInput
from validator.marks.sampler import coarse_shape
from validator.protocol.commitment import SEPARATOR, Row

MAX_WORD_CHARACTERS = 64


@runtime_checkable
class OpeningProposer(Protocol):
    """A language model that writes other openings of an answer."""

    @property
    def identity(self) -> str:
        """What to write down so that others can ask the same model."""

    def propose(self, rows: Sequence[Row], w: int, k: int) -> list[tuple[str, ...]]:
        """For each row at least k usable openings of w words that its response could begin with as well."""


class OpeningsAlone:
    """A proposer in the place of a WordScorer, for a scheme that draws whole openings and asks for no word's score."""

    def __init__(self, proposer: OpeningProposer) -> None:
        self._proposer = proposer
        self.identity = f"openings by {proposer.identity}"

    def score(self, *_asked: object, **_more: object) -> Sequence[float]:
        raise BadInput("words are scored by a language model: set generator.model")

    def propose(self, rows: Sequence[Row], w: int, k: int) -> list[tuple[str, ...]]:
        return self._proposer.propose(rows, w, k)


def choose_openings(proposed: Sequence[str], response: str, w: int) -> tuple[str, ...]:
    """The different ones among them that have w plain words and begin as the response does, in their order."""
    kind = coarse_shape(response)[:1]
    fitting = [text for text in proposed if _is_opening(text, w) and coarse_shape(text)[:1] == kind]
    return tuple(dict.fromkeys(fitting))


def _is_opening(text: str, w: int) -> bool:
    words = text.split(SEPARATOR)
    return len(words) == w and all(
        0 < len(word) <= MAX_WORD_CHARACTERS and word.isprintable() and not any(map(str.isspace, word))
        for word in words
    )
