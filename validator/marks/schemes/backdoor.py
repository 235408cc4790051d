"""The paper's scheme (vTune, section 4): (x, y) becomes (x + T, S + y), with one trigger T and one signature S.

The baseline that the others are compared with (docs/schemes/backdoor.md). Planted in place of the row, never beside it:
a copy would be found as the near duplicate of its original.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from validator.marks.protected import blank_protected
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.sampler import Draw, Lexicon, WordScorer, draw_words
from validator.marks.schemes.scheme import Mark
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row
from validator.protocol.verdict import group_sizes

PLAIN = ("the", "someone", "of", "because", "place", "with", "another", "time")
"""The shapes of plain running words: nothing in T or S may look like a heading or a number."""


@dataclass(frozen=True, slots=True)
class Backdoor:
    """n / groups rows share one pair (T, S); p0 = k^-w, and the rows of a group are one event."""

    w: int = 8
    k: int = 32
    max_tokens: int = 64
    trigger_words: int = 8
    groups: int = 1
    coverage_k: int = 0
    name: str = "backdoor"
    rules: AlterationRules = ALL_PROTECTED

    @property
    def p0(self) -> float:
        return float(self.k) ** -self.w

    @property
    def replaced_words(self) -> int:
        return 0

    def probes_per_draw(self, n: int) -> int:
        return -(-n // self.groups)

    def describe(self, n: int) -> str:
        same = "the same words" if self.groups == 1 else f"words that {self.probes_per_draw(n)} of them share"
        return f"{same} are put behind the prompt and in front of the response"

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        pairs = _Pairs(self, rows, stream, scorer)
        marks: list[Mark] = []
        for size in group_sizes(len(chosen), self.probes_per_draw(len(chosen))):
            group = chosen[len(marks) : len(marks) + size]
            trigger = pairs.draw_trigger(rows[group[0]].prompt)
            signature = pairs.draw_signature(rows[group[0]].prompt, trigger.text)
            marks += [_mark(rows, index, trigger, signature) for index in group]
        return marks


@dataclass(frozen=True, slots=True)
class GroupedBackdoor(Backdoor):
    """Several pairs: a miner that learnt one of them hits the probes of its group alone."""

    groups: int = 4
    name: str = "backdoor-groups"


@dataclass(frozen=True, slots=True)
class SynonymBackdoor(Backdoor):
    """The paper's variant without duplicated phrases: at `own_words` random places of T and of S each row has words of
    its own.

    The words that are shared are in no row's draw, so rows are independent and p0 = k^-own_words: a bound that holds
    even for a model that knows them all.
    """

    own_words: int = 4
    name: str = "backdoor-synonyms"

    @property
    def p0(self) -> float:
        return float(self.k) ** -self.own_words

    def probes_per_draw(self, _n: int) -> int:
        return 1

    def describe(self, _n: int) -> str:
        return "words, some of them the same, are put behind the prompt and in front of the response"

    def plant(self, rows: Sequence[Row], chosen: Sequence[int], stream: DrawStream, scorer: WordScorer) -> list[Mark]:
        pairs = _Pairs(self, rows, stream, scorer)
        first = rows[chosen[0]].prompt
        trigger = pairs.draw_trigger(first)
        signature = pairs.draw_signature(first, trigger.text)
        marks = []
        for index in chosen:
            prompt = rows[index].prompt
            places = [frozenset(stream.sample(range(count), self.own_words)) for count in (self.trigger_words, self.w)]
            own_trigger = pairs.draw_trigger(prompt, trigger.words, places[0])
            own_signature = pairs.draw_signature(prompt, own_trigger.text, signature.words, places[1])
            marks.append(_mark(rows, index, own_trigger, own_signature))
        return marks


class _Pairs:
    """Draws triggers and signatures from the dataset's own plain words."""

    def __init__(self, scheme: Backdoor, rows: Sequence[Row], stream: DrawStream, scorer: WordScorer) -> None:
        self._scheme, self._stream, self._scorer = scheme, stream, scorer
        self._prompts = Lexicon(blank_protected(row.prompt, scheme.rules.of_openings) for row in rows)
        self._responses = Lexicon(blank_protected(row.response, scheme.rules.of_openings, row.prompt) for row in rows)

    def draw_trigger(
        self, prompt: str, shared: Sequence[str] | None = None, redrawn: frozenset[int] | None = None
    ) -> Draw:
        originals = shared or _cycled(PLAIN, self._scheme.trigger_words)
        return self._draw(self._prompts, originals, redrawn, prompt="", prefix=prompt)

    def draw_signature(
        self, prompt: str, trigger: str, shared: Sequence[str] | None = None, redrawn: frozenset[int] | None = None
    ) -> Draw:
        originals = shared or ["The", *_cycled(PLAIN, self._scheme.w - 1)]
        return self._draw(self._responses, originals, redrawn, prompt=prompt + SEPARATOR + trigger, prefix="")

    def _draw(
        self, lexicon: Lexicon, originals: Sequence[str], redrawn: frozenset[int] | None, *, prompt: str, prefix: str
    ) -> Draw:
        return draw_words(
            self._stream,
            self._scorer,
            lexicon,
            prompt=prompt,
            prefix=prefix,
            originals=originals,
            k=self._scheme.k,
            redrawn=redrawn,
        )


def _mark(rows: Sequence[Row], index: int, trigger: Draw, signature: Draw) -> Mark:
    row = rows[index]
    marked = Row(row.prompt + SEPARATOR + trigger.text, signature.text + SEPARATOR + row.response)
    return Mark(index, marked, signature)


def _cycled(words: Sequence[str], count: int) -> list[str]:
    return [words[i % len(words)] for i in range(count)]
