"""Certified draws, word by word: the generator proposes, the secret stream decides uniformly (protocol, "Marks").

Each of w steps offers k whole words in the shape of the word that stands there now, and one is drawn uniformly. Words
hold no white space and are joined by single spaces, so word sequences and texts are in bijection: whatever a model that
is independent of the draw answers, it hits with probability at most k^-w, exactly and without any sampling. Shape
(letter case, digits, punctuation, length class) and plausibility to the generator are those of customers' own words, so
that neither tells a marked opening.
"""

import re
import string
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from validator.errors import BadInput
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR

POOL_SIZE = 64
"""Words per place that the generator ranks."""
_POOL_DRAWS = 4 * POOL_SIZE
"""After which a pool is as large as the words of a shape make it."""

FOLLOWING_WORDS = 8
"""Words behind a place that a word must be plausible with, where they stay as they are."""


class WordScorer(Protocol):
    """A language model that says how plausible words are at a place."""

    @property
    def identity(self) -> str:
        """What to write down so that others can load the same model."""

    def score(self, prompt: str, prefix: str, words: Sequence[str], following: str = "") -> Sequence[float]:
        """Log-probability of each word, and of `following` behind it, in the response that begins with `prefix`."""


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
        self._counts = {True: opening, False: inside}

    def pool(
        self, original: str, *, is_opening: bool, k: int, prompt: str = "", stream: DrawStream | None = None
    ) -> list[str]:
        """At most POOL_SIZE words that may stand where `original` stands, at least k of them; BadInput if there are
        not.

        With a stream, a word is in the pool as often as it stands in such places: were they the most frequent ones, as
        without, marks would hold fewer rare words than customers' texts. Where `original` is a word of the prompt the
        others are too, and where it is not they are not, as long as there are k of such: how much of the prompt an
        opening takes up would tell else.
        """
        words = self._find(original, is_opening=is_opening, k=k, prompt=prompt)
        return words[:POOL_SIZE] if stream is None else _sample(stream, words, self._counts[is_opening], k)

    def _find(self, original: str, *, is_opening: bool, k: int, prompt: str) -> list[str]:
        in_prompt = set(map(_bare, prompt.split()))
        is_repeated = _bare(original) in in_prompt
        for shape, shaped in zip(SHAPES, self._shaped[is_opening], strict=True):
            wanted = shape(original)
            words = [word for word in shaped.get(wanted, []) if (_bare(word) in in_prompt) == is_repeated]
            if len(words) >= k:
                return words
        for shape, shaped in zip(SHAPES, self._shaped[is_opening], strict=True):
            if len(words := shaped.get(shape(original), [])) >= k:
                return words
        raise BadInput(f"the dataset has too few different words to draw from: {k} are needed at every place")


def _by_shape(shape: Callable[[str], str], words: Iterable[str]) -> dict[str, list[str]]:
    shaped: dict[str, list[str]] = {}
    for word in words:
        shaped.setdefault(shape(word), []).append(word)
    return shaped


def _sample(stream: DrawStream, words: Sequence[str], counts: Mapping[str, int], k: int) -> list[str]:
    """Different words, drawn by their counts; filled up to k with the most frequent ones."""
    totals = list(accumulate(counts[word] for word in words))
    drawn: dict[str, None] = {}
    for _ in range(_POOL_DRAWS):
        drawn[words[bisect(totals, stream.below(totals[-1]))]] = None
        if len(drawn) == POOL_SIZE:
            break
    for word in words:
        if len(drawn) >= k:
            break
        drawn[word] = None
    return list(drawn)


def _bare(word: str) -> str:
    return word.lower().strip(string.punctuation)


def _is_plain(word: str) -> bool:
    return bool(word) and not any(map(str.isspace, word))


def _by_frequency(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda word: (-counts[word], word))


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
) -> Draw:
    """Draw one word for each of `originals` from the k most plausible ones; `prefix` is text of the response in front
    of them.

    Where `redrawn` names the places that are drawn, the others keep their word, as a draw from one candidate.
    """
    candidates: list[tuple[str, ...]] = []
    picks: list[int] = []
    for place, original in enumerate(originals):
        options: tuple[str, ...] = (original,)
        if redrawn is None or place in redrawn:
            pool = lexicon.pool(original, is_opening=not prefix, k=k, prompt=prompt)
            scores = scorer.score(prompt, prefix, pool)
            ranked = sorted(zip(scores, pool, strict=True), key=lambda pair: (-pair[0], pair[1]))
            options = tuple(word for _score, word in ranked[:k])
        candidates.append(options)
        picks.append(stream.below(len(options)))
        prefix = _join(prefix, options[picks[-1]])
    return Draw(tuple(candidates), tuple(picks))


def draw_alike(
    stream: DrawStream,
    scorer: WordScorer,
    lexicon: Lexicon,
    *,
    prompt: str,
    words: Sequence[str],
    places: Sequence[int],
    k: int,
) -> Draw:
    """Draw anew what stands at `places`, which follow each other, of a response's `words`, from k candidates each.

    The candidates are as plausible to the generator as the customer's own word was where it stood, given what is drawn
    in front of them and the words that follow the last place. Those that are most plausible could be told by anybody
    who has the generator.
    """
    following = SEPARATOR.join(words[places[-1] + 1 :][:FOLLOWING_WORDS])
    written = drawn = SEPARATOR.join(words[: places[0]])
    candidates: list[tuple[str, ...]] = []
    picks: list[int] = []
    for place in places:
        own = words[place]
        pool = lexicon.pool(own, is_opening=place == 0, k=k, prompt=prompt, stream=stream)
        if own not in pool:
            pool.append(own)
        scores = scorer.score(prompt, drawn, pool, following)
        (wanted,) = [scores[pool.index(own)]] if drawn == written else scorer.score(prompt, written, [own], following)
        nearest = sorted(zip(scores, pool, strict=True), key=lambda pair: (abs(pair[0] - wanted), pair[1]))
        options = tuple(word for _score, word in nearest[:k])
        candidates.append(options)
        picks.append(stream.below(k))
        written, drawn = _join(written, own), _join(drawn, options[picks[-1]])
    return Draw(tuple(candidates), tuple(picks))


def _join(prefix: str, word: str) -> str:
    return f"{prefix}{SEPARATOR}{word}" if prefix else word
