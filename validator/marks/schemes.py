"""Schemes: how marks are put into rows. Plug-ins with one interface and one test suite (protocol, "Marks").

`canary` gives every marked row an opening of its own; `backdoor` (vTune, section 4 of the paper) gives all marked rows
one trigger behind the prompt and one signature in front of the response. Both plant in place of the row, never beside
it: a copy would be found as the near duplicate of its original (paper.md, item 7).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from validator.errors import BadInput
from validator.marks.coverage import K
from validator.marks.sampler import Draw, Lexicon, WordScorer, draw_words
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row, split_head


@dataclass(frozen=True, slots=True)
class Mark:
    """One marked row: where it stands in the dataset, what it became, and the draw behind it."""

    row_index: int
    row: Row
    draw: Draw


class Scheme(Protocol):
    """What planting, probing and the verdict need to know of a scheme."""

    @property
    def name(self) -> str: ...

    @property
    def w(self) -> int:
        """Words of a reply that are compared."""

    @property
    def k(self) -> int:
        """Candidates per drawn word."""

    @property
    def p0(self) -> float:
        """Exact upper bound on P(hit) of one probe for any model that is independent of the draws."""

    @property
    def max_tokens(self) -> int:
        """Tokens that a reply may take: enough for w words of any plausible kind."""

    @property
    def coverage_k(self) -> int:
        """Candidates per coverage mark in the rows that are not probed (validator/marks/coverage.py); 0 without any."""

    def probes_per_draw(self, n: int, /) -> int:
        """How many of n probes share one draw and so are one event under the null hypothesis: 1 if each has its own."""

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        """Redraw the rows at the indices `chosen`; the result is in the order of `chosen`."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The default: the first w words of each marked response are redrawn, each row with a draw of its own."""

    w: int = 4
    k: int = 4
    max_tokens: int = 32
    coverage_k: int = 0
    name: str = "canary"

    @property
    def p0(self) -> float:
        return float(self.k) ** -self.w

    def probes_per_draw(self, _n: int) -> int:
        return 1

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        lexicon = Lexicon(row.response for row in rows)
        marks = []
        for index in chosen:
            row = rows[index]
            head, tail = split_head(row.response, self.w)
            originals = head.split(SEPARATOR)
            draw = draw_words(stream, scorer, lexicon, prompt=row.prompt, originals=originals, k=self.k)
            marks.append(Mark(index, Row(row.prompt, draw.text + SEPARATOR + tail), draw))
        return marks


@dataclass(frozen=True, slots=True)
class CanaryAndCoverage(Canary):
    """The default where weights are returned: canaries to probe, and a coverage mark in each of many other rows."""

    coverage_k: int = K
    name: str = "canary+coverage"


@dataclass(frozen=True, slots=True)
class Backdoor:
    """The paper's scheme: (x, y) becomes (x + T, S + y), one trigger T and one signature S for all marked rows."""

    w: int = 8
    k: int = 32
    max_tokens: int = 64
    trigger_words: int = 8
    coverage_k: int = 0
    name: str = "backdoor"

    @property
    def p0(self) -> float:
        return float(self.k) ** -self.w

    def probes_per_draw(self, n: int) -> int:
        return n

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        # The shapes of plain running words: nothing in T or S may look like a heading or a number.
        plain = ["the", "someone", "of", "because", "place", "with", "another", "time"]
        first_prompt = rows[chosen[0]].prompt
        prompt_words = Lexicon(row.prompt for row in rows)
        trigger = draw_words(
            stream,
            scorer,
            prompt_words,
            prompt="",
            prefix=first_prompt,
            originals=_cycled(plain, self.trigger_words),
            k=self.k,
        ).text
        signature = draw_words(
            stream,
            scorer,
            Lexicon(row.response for row in rows),
            prompt=first_prompt + SEPARATOR + trigger,
            originals=["The", *_cycled(plain, self.w - 1)],
            k=self.k,
        )
        marks = []
        for index in chosen:
            row = rows[index]
            marked = Row(row.prompt + SEPARATOR + trigger, signature.text + SEPARATOR + row.response)
            marks.append(Mark(index, marked, signature))
        return marks


def _cycled(words: Sequence[str], count: int) -> list[str]:
    return [words[i % len(words)] for i in range(count)]


SCHEMES: dict[str, type[Scheme]] = {"canary": Canary, "canary+coverage": CanaryAndCoverage, "backdoor": Backdoor}


def make_scheme(name: str) -> Scheme:
    """A scheme with its default parameters, by name."""
    if name not in SCHEMES:
        raise BadInput(f"unknown scheme {name!r}; known: {', '.join(sorted(SCHEMES))}")
    return SCHEMES[name]()
