"""What a scheme is: the interface between it and planting, probing and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from validator.marks.rules import AlterationRules
from validator.marks.sampler import Draw, WordScorer
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked row: where it stands in the dataset, what it became, and the draw behind it."""

    row_index: int
    row: Row
    draw: Draw


class Scheme(Protocol):
    """What planting, probing and the verdict need to know of a scheme: a frozen dataclass with these names."""

    @property
    def name(self) -> str: ...

    @property
    def w(self) -> int:
        """Words of a reply that are compared."""

    @property
    def k(self) -> int:
        """Candidates per draw."""

    @property
    def p0(self) -> float:
        """Exact upper bound on P(hit) of one probe for any model that is independent of the draws."""

    @property
    def max_tokens(self) -> int:
        """Tokens that a reply may take: enough for w words of any plausible kind."""

    @property
    def coverage_k(self) -> int:
        """Candidates per coverage mark in the rows that are not probed (validator/marks/coverage.py); 0 without any."""

    @property
    def rules(self) -> AlterationRules:
        """What no mark may touch."""

    @property
    def replaced_words(self) -> int:
        """First words of a marked response that are replaced; 0 where words are only added."""

    def probes_per_draw(self, n: int, /) -> int:
        """How many of n probes share one draw and so are one event under the null hypothesis: 1 if each has its own."""

    def describe(self, n: int, /) -> str:
        """What becomes of n rows, for the customer, as the end of "in n rows ..."."""

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        """Redraw the rows at the indices `chosen`; the result is in the order of `chosen`."""
