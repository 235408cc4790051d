"""Canaries: every marked row gets an opening of its own in place of its first w words (docs/schemes/canary.md).

There is no trigger and nothing repeats, so there is nothing to group by, and each mark is learnt or not on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from validator.errors import BadInput
from validator.marks.coverage import K
from validator.marks.openings import OpeningProposer, choose_openings
from validator.marks.protected import blank_protected
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.sampler import Draw, Lexicon, WordScorer, draw_alike
from validator.marks.schemes.scheme import Mark
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row, split_head


@dataclass(frozen=True, slots=True)
class Canary:
    """The default: word by word, each from k as plausible as what customers write; p0 = k^-w."""

    w: int = 4
    k: int = 2
    max_tokens: int = 32
    coverage_k: int = 0
    name: str = "canary"
    rules: AlterationRules = ALL_PROTECTED

    @property
    def p0(self) -> float:
        return float(self.k) ** -self.w

    @property
    def replaced_words(self) -> int:
        return self.w

    def probes_per_draw(self, _n: int) -> int:
        return 1

    def describe(self, _n: int) -> str:
        return f"the first {self.w} words of the response are replaced by drawn ones"

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        lexicon = Lexicon(blank_protected(row.response, self.rules.of_openings, row.prompt) for row in rows)
        marks = []
        for index in chosen:
            words = rows[index].response.split(SEPARATOR)
            draw = draw_alike(
                stream, scorer, lexicon, prompt=rows[index].prompt, words=words, places=range(self.w), k=self.k
            )
            marks.append(_replace_opening(rows, index, draw, self.w))
        return marks


@dataclass(frozen=True, slots=True)
class CanaryAndCoverage(Canary):
    """The default where weights are returned: canaries to probe, and a coverage mark in each of many other rows."""

    coverage_k: int = K
    name: str = "canary+coverage"


@dataclass(frozen=True, slots=True)
class OpeningCanary(Canary):
    """Whole openings: a capable language model proposes k of w words for this very answer; p0 = 1/k.

    The scorer must propose openings too (validator/marks/openings.py).
    """

    k: int = 16
    name: str = "canary-openings"

    @property
    def p0(self) -> float:
        return 1 / self.k

    def describe(self, _n: int) -> str:
        return (
            f"the first {self.w} words of the response are replaced by one of {self.k} openings that another language "
            "model proposes, which is shown these rows"
        )

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        if not isinstance(scorer, OpeningProposer):
            raise BadInput(f"the scheme {self.name} needs a model that proposes openings: set generator.openings_url")
        proposed = scorer.propose([rows[index] for index in chosen], self.w, self.k)
        marks = []
        for index, openings in zip(chosen, proposed, strict=True):
            options = choose_openings(openings, rows[index].response, self.w)[: self.k]
            if len(options) < self.k:
                raise BadInput(f"{len(options)} usable openings were proposed for a row, {self.k} are needed")
            draw = Draw((options,), (stream.below(self.k),))
            marks.append(_replace_opening(rows, index, draw, self.w))
        return marks


def _replace_opening(rows: Sequence[Row], index: int, draw: Draw, w: int) -> Mark:
    row = rows[index]
    return Mark(index, Row(row.prompt, draw.text + SEPARATOR + split_head(row.response, w)[1]), draw)
