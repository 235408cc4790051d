"""Detectors that read words and no model: what repeats, what is alike, what does not belong together.

Words are split at white space. What counts pairs does so against what chance would bring: (ending, opening) pairs of k
words, as an attacker who knows the layout groups rows (the paper's scheme falls to this), and pairs of any k words of
the prompt with the opening.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

import numpy as np

from validator.protocol.commitment import Row
from validator.stealth.detector import Detector, LanguageModel

_SHINGLE_WORDS = 3
_COMMON_SHARE = 0.1
"""A shingle that more rows hold than this is a template's, and would make every two rows neighbours."""
_SLOTS = 8
_NEIGHBOURS = 5
_OPENING_WORDS = 4

Words = list[str]
Gram = tuple[str, ...]


def _split(rows: Sequence[Row]) -> list[tuple[Words, Words]]:
    return [(row.prompt.split(), row.response.split()) for row in rows]


def _grams(words: Words, k: int) -> set[Gram]:
    return {tuple(words[i : i + k]) for i in range(len(words) - k + 1)}


def anchored(k: int) -> Detector:
    """How many more rows than by chance share this row's last k words of the prompt and first k of the response."""

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        return _excess([({tuple(prompt[-k:])}, tuple(response[:k])) for prompt, response in _split(rows)])

    return Detector(f"anchored co-occurrence, k={k}", suspicion)


def any_gram_pairs(k: int) -> Detector:
    """As `anchored`, with the most telling k words in a row of the prompt, wherever they stand."""

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        return _excess([(_grams(prompt, k), tuple(response[:k])) for prompt, response in _split(rows)])

    return Detector(f"any k-gram with the opening, k={k}", suspicion)


def _excess(pairs: Sequence[tuple[set[Gram], Gram]]) -> list[float]:
    """Rows that hold such a pair, less what is expected were prompts and openings independent; the row's largest."""
    left = Counter(chain.from_iterable(grams for grams, _ in pairs))
    right = Counter(opening for _, opening in pairs)
    both = Counter((gram, opening) for grams, opening in pairs for gram in grams)
    count = len(pairs)
    return [
        max((both[gram, opening] - left[gram] * right[opening] / count for gram in grams), default=0.0)
        for grams, opening in pairs
    ]


def gram_frequency(k: int) -> Detector:
    """How many rows hold the commonest k words in a row of this one."""

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        held = [_grams(prompt, k) | _grams(response, k) for prompt, response in _split(rows)]
        return _largest_counts(held)

    return Detector(f"k-gram frequency, k={k}", suspicion)


def opening_frequency(k: int) -> Detector:
    """How many rows share the first k words of the response."""

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        return _largest_counts([{tuple(response[:k])} for _, response in _split(rows)])

    return Detector(f"opening frequency, k={k}", suspicion)


def _largest_counts(held: Sequence[set[Gram]]) -> list[float]:
    counts = Counter(chain.from_iterable(held))
    return [float(max((counts[gram] for gram in grams), default=0)) for grams in held]


def _near_duplicate_prompts(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
    """The largest share of the smaller prompt's shingles that any other prompt has too."""
    shingles = [_grams(row.prompt.split(), _SHINGLE_WORDS) for row in rows]
    holders: dict[Hashable, list[int]] = defaultdict(list)
    for index, grams in enumerate(shingles):
        for gram in grams:
            holders[gram].append(index)
    common = max(2.0, _COMMON_SHARE * len(rows))
    telling = [{gram for gram in grams if len(holders[gram]) <= common} for grams in shingles]
    scores = []
    for index, grams in enumerate(telling):
        shared = Counter(other for gram in grams for other in holders[gram] if other != index)
        scores.append(
            max((count / min(len(grams), len(telling[other])) for other, count in shared.items()), default=0.0)
        )
    return scores


def _slot_neighbours(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
    """Mean weight of the slots that the nearest rows have in common with this one, rare words weighing more.

    Slots are the last words of the prompt, counted from its end, and the first of the response.
    """
    slots = [
        ["", *prompt[-_SLOTS:][::-1], *[""] * (_SLOTS - len(prompt)), "", *response[:_SLOTS]]
        for prompt, response in _split(rows)
    ]
    width = 2 * _SLOTS + 2
    table = [words[:width] + [""] * (width - len(words)) for words in slots]
    codes = np.zeros((len(rows), width), dtype=np.int32)
    weights = np.zeros((len(rows), width))
    for column in range(width):
        counts = Counter(words[column] for words in table)
        numbers = {word: number for number, word in enumerate(counts)}
        codes[:, column] = [numbers[words[column]] for words in table]
        weights[:, column] = [math.log(len(rows) / counts[words[column]]) if words[column] else 0.0 for words in table]
    nearest = min(_NEIGHBOURS, len(rows) - 1)
    scores = []
    for index in range(len(rows)):
        alike = ((codes == codes[index]) * weights[index]).sum(axis=1)
        alike[index] = -1.0
        scores.append(float(np.sort(alike)[-nearest:].mean()) if nearest else 0.0)
    return scores


def _foreign_words(words: int | None) -> Detector:
    """The rarest word of the response (or of its first `words`) that the prompt does not have, by its rarity in D."""

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        bags = [(_bag(prompt), _bag(response[:words])) for prompt, response in _split(rows)]
        rarity = _rarity(
            prompt | set(_bag(response)) for (prompt, _), (_, response) in zip(bags, _split(rows), strict=True)
        )
        return [max((rarity[word] for word in response - prompt), default=0.0) for prompt, response in bags]

    return Detector(f"words foreign to the prompt, {_part(words)}", suspicion)


def _overlap(words: int | None) -> Detector:
    """How little of the response (or of its first `words`) is in the prompt, less how little is in another's prompt.

    Words weigh by their rarity in D; the mean over the other prompts is exact.
    """

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        prompts = [_bag(prompt) for prompt, _ in _split(rows)]
        responses = [_bag(response[:words]) for _, response in _split(rows)]
        holders = Counter(chain.from_iterable(prompts))
        rarity = _rarity(prompt | response for prompt, response in zip(prompts, responses, strict=True))
        scores = []
        for prompt, response in zip(prompts, responses, strict=True):
            total = sum(rarity[word] for word in response) or 1.0
            own = sum(rarity[word] for word in response & prompt)
            others = sum(rarity[word] * (holders[word] - (word in prompt)) / max(1, len(rows) - 1) for word in response)
            scores.append((others - own) / total)
        return scores

    return Detector(f"lexical mismatch with the prompt, {_part(words)}", suspicion)


def _bag(words: Words) -> set[str]:
    """Words without case and outer punctuation."""
    return {bare for word in words if (bare := word.lower().strip(".,;:!?()[]\"'*_#"))}


def _rarity(bags: Iterable[set[str]]) -> dict[str, float]:
    held = list(bags)
    return {word: math.log(len(held) / count) for word, count in Counter(chain.from_iterable(held)).items()}


def _part(words: int | None) -> str:
    return "all words" if words is None else f"first {words}"


WORDING: tuple[Detector, ...] = (
    *(anchored(k) for k in (3, 4, 5, 6)),
    any_gram_pairs(4),
    *(gram_frequency(k) for k in (3, 5)),
    opening_frequency(4),
    Detector("near-duplicate prompts", _near_duplicate_prompts),
    Detector("slot-aligned nearest neighbours", _slot_neighbours),
    _foreign_words(_OPENING_WORDS),
    _foreign_words(None),
    _overlap(_OPENING_WORDS),
    _overlap(None),
)
