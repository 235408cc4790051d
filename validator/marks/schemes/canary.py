"""Canaries: every marked row gets an opening of its own in place of its first w words (docs/schemes/canary.md).

There is no trigger and nothing repeats, so there is nothing to group by, and each mark is learnt or not on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from validator.errors import BadInput
from validator.marks.coverage import K
from validator.marks.openings import OpeningProposer, choose_openings
from validator.marks.protected import blank_protected, find_free_words
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.sampler import NATURAL_ROWS, Draw, Lexicon, WordScorer, draw_words, find_relative_rank
from validator.marks.schemes.scheme import Mark
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row, split_head


@dataclass(frozen=True, slots=True)
class Canary:
    """The default: word by word, each from k as plausible as what customers write; p0 = k^-w."""

    w: int = 4
    k: int = 4
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
        natural = self._natural_ranks(rows, lexicon, stream, scorer)
        marks = []
        for index in chosen:
            row = rows[index]
            originals = split_head(row.response, self.w)[0].split(SEPARATOR)
            draw = draw_words(
                stream, scorer, lexicon, prompt=row.prompt, originals=originals, k=self.k, natural=natural
            )
            marks.append(_replace_opening(rows, index, draw, self.w))
        return marks

    def _natural_ranks(
        self, rows: Sequence[Row], lexicon: Lexicon, stream: DrawStream, scorer: WordScorer
    ) -> list[list[float]]:
        """Relative ranks of customers' own words at each of the w places, in some rows that could be marked."""
        able = [
            row
            for row in rows
            if all((free := find_free_words(row, self.rules.of_openings))[: self.w]) and len(free) > self.w
        ]
        openings = [
            (row.prompt, row.response.split(SEPARATOR)[: self.w])
            for row in stream.sample(able, min(len(able), NATURAL_ROWS))
        ]
        return [
            [
                find_relative_rank(scorer, lexicon, prompt=prompt, words=words, place=place, k=self.k)
                for prompt, words in openings
            ]
            for place in range(self.w)
        ]


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
