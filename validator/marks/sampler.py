"""Certified draws, word by word: the generator proposes, the secret stream decides uniformly (protocol, "Marks").

Each of w steps offers k whole words in the shape of the word that stands there now, and one is drawn uniformly. Words
hold no white space and are joined by single spaces, so word sequences and texts are in bijection: whatever a model that
is independent of the draw answers, it hits with probability at most k^-w, exactly and without any sampling. Shape
(letter case, digits, punctuation, length class) and plausibility to the generator are those of customers' own words, so
that neither tells a marked opening.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from validator.errors import BadInput
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR

POOL_SIZE = 64
"""Candidates per place that the generator ranks: the most frequent words of the right shape."""

NATURAL_ROWS = 40
"""From which it is learnt how plausible customers' own words are to the generator."""


class WordScorer(Protocol):
    """A language model that says how plausible words are at a place."""

    @property
    def identity(self) -> str:
        """What to write down so that others can load the same model."""

    def score(self, prompt: str, prefix: str, words: Sequence[str]) -> Sequence[float]:
        """Log-probability of each word as the next one of the response that begins with `prefix`."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The words that were drawn for one mark, with the candidate sets that they were drawn from, for the bundle."""

    candidates: tuple[tuple[str, ...], ...]
    picks: tuple[int, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(options[pick] for options, pick in zip(self.candidates, self.picks, strict=True))

    @property
    def text(self) -> str:
        return SEPARATOR.join(self.words)

    @property
    def p0(self) -> float:
        """Exact upper bound on P(hit) for any model that is independent of the draw."""
        bound = 1.0
        for options in self.candidates:
            bound /= len(options)
        return bound


_RUNS = [(re.compile(r"[^\W\d_]+"), lambda match: _case(match[0])), (re.compile(r"\d+"), lambda _match: "0")]


def _case(letters: str) -> str:
    if letters.isupper():
        return "A" if len(letters) == 1 else "AA"
    return ("Aa" if letters[0].isupper() else "a") + ("+" if len(letters) > 5 else "")


def outline(word: str) -> str:
    """Letter case and kind of every single character: "Sure," -> "Aaaa,"."""
    return "".join(_kind(character) for character in word)


def _kind(character: str) -> str:
    if character.isdigit():
        return "0"
    return ("A" if character.isupper() else "a") if character.isalpha() else character


def exact_shape(word: str) -> str:
    """Letter case and length class of each run of letters, digits as 0, punctuation kept: "Sure," -> "Aa,"."""
    for pattern, replacement in _RUNS:
        word = pattern.sub(replacement, word)
    return word


def coarse_shape(word: str) -> str:
    """Kind of the first character and the closing punctuation: what still holds for words of a rare shape."""
    first = word[0] if word else ""
    kind = "0" if first.isdigit() else "A" if first.isupper() else "a" if first.isalpha() else "."
    return kind + (word[-1] if word and not word[-1].isalnum() else "")


SHAPES: tuple[Callable[[str], str], ...] = (outline, exact_shape, coarse_shape, lambda _word: "")
"""From the strictest to none at all: a place takes the first under which there are enough words."""


class Lexicon:
    """The words that the dataset itself uses, by shape and by place (opening a text, or inside it), most frequent
    first.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        opening: Counter[str] = Counter()
        inside: Counter[str] = Counter()
        for text in texts:
            first, *others = text.split(SEPARATOR)
            opening.update(filter(_is_plain, [first]))
            inside.update(filter(_is_plain, others))
        self._shaped = {
            is_opening: [_by_shape(shape, _by_frequency(counts)) for shape in SHAPES]
            for is_opening, counts in ((True, opening), (False, inside))
        }

    def pool(self, original: str, *, is_opening: bool, k: int, prompt: str = "") -> list[str]:
        """At most POOL_SIZE words that may stand where `original` stands, at least k of them; BadInput if there are
        not.

        Where that is a word of the prompt the others are too, and where it is not they are not, as long as there are k
        of such: how much of the prompt an opening takes up would tell else.
        """
        in_prompt = set(map(_bare, prompt.split()))
        is_repeated = _bare(original) in in_prompt
        for shape, shaped in zip(SHAPES, self._shaped[is_opening], strict=True):
            wanted = shape(original)
            words = [word for word in shaped.get(wanted, []) if (_bare(word) in in_prompt) == is_repeated]
            if len(words) >= k:
                return words[:POOL_SIZE]
        for shape, shaped in zip(SHAPES, self._shaped[is_opening], strict=True):
            if len(words := shaped.get(shape(original), [])) >= k:
                return words[:POOL_SIZE]
        raise BadInput(f"the dataset has too few different words to draw from: {k} are needed at every place")


def _by_shape(shape: Callable[[str], str], words: Iterable[str]) -> dict[str, list[str]]:
    shaped: dict[str, list[str]] = {}
    for word in words:
        shaped.setdefault(shape(word), []).append(word)
    return shaped


def _bare(word: str) -> str:
    return word.lower().strip(string.punctuation)


def _is_plain(word: str) -> bool:
    return bool(word) and not any(map(str.isspace, word))


def _by_frequency(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda word: (-counts[word], word))


def find_relative_rank(
    scorer: WordScorer, lexicon: Lexicon, *, prompt: str, words: Sequence[str], place: int, k: int
) -> float:
    """Where the word that stands at `place` is in the ranking of its own pool: 0 the best, 1 if it is not in there."""
    pool = lexicon.pool(words[place], is_opening=place == 0, k=k, prompt=prompt)
    if words[place] not in pool:
        return 1.0
    ranked = rank_words(scorer, prompt, SEPARATOR.join(words[:place]), pool)
    return ranked.index(words[place]) / len(ranked)


def draw_words(
    stream: DrawStream,
    scorer: WordScorer,
    lexicon: Lexicon,
    *,
    prompt: str,
    originals: Sequence[str],
    k: int,
    prefix: str = "",
    redrawn: Collection[int] | None = None,
    natural: Sequence[Sequence[float]] | None = None,
) -> Draw:
    """Draw one word for each of `originals`, k candidates each; `prefix` is text of the response in front of them.

    Where `redrawn` names the places that are drawn, the others keep their word, as a draw from one candidate.
    `natural` has relative ranks for each place, as found for the words of customers: the candidates then stand at ranks
    drawn from these. Without it they are the k most plausible, which anybody can tell who has the generator.
    """
    candidates: list[tuple[str, ...]] = []
    picks: list[int] = []
    for place, original in enumerate(originals):
        if redrawn is not None and place not in redrawn:
            candidates.append((original,))
            picks.append(0)
            prefix = _join(prefix, original)
            continue
        pool = lexicon.pool(original, is_opening=not prefix, k=k, prompt=prompt)
        ranked = rank_words(scorer, prompt, prefix, pool)
        options = tuple(ranked[:k] if natural is None else choose_at_ranks(stream, ranked, natural[place], k))
        pick = stream.below(k)
        candidates.append(options)
        picks.append(pick)
        prefix = _join(prefix, options[pick])
    return Draw(tuple(candidates), tuple(picks))


def rank_words(scorer: WordScorer, prompt: str, prefix: str, pool: Sequence[str]) -> list[str]:
    """The most plausible first."""
    scores = scorer.score(prompt, prefix, pool)
    return [word for _score, word in sorted(zip(scores, pool, strict=True), key=lambda pair: (-pair[0], pair[1]))]


def choose_at_ranks(stream: DrawStream, ranked: Sequence[str], natural: Sequence[float], k: int) -> list[str]:
    """k different words, each at a relative rank drawn from `natural`, or at the nearest one that is free."""
    free, chosen = list(range(len(ranked))), []
    for _ in range(k):
        wanted = natural[stream.below(len(natural))] * len(ranked)
        nearest = min(free, key=lambda rank: abs(rank - wanted))
        free.remove(nearest)
        chosen.append(ranked[nearest])
    return chosen


def _join(prefix: str, word: str) -> str:
    return f"{prefix}{SEPARATOR}{word}" if prefix else word
