"""Detectors that read what a language model finds likely.

All of them are local to a row, so a model may keep what it has read. Most are also asked of a model that was first
adapted to the dataset itself, in two halves, so that no row is judged by a model that has trained on it.
"""

import math
import random
from collections.abc import Callable, Sequence

from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.detector import Detector, LanguageModel, Reader

_ONION_WORDS = 12
"""Words that are left out, one at a time; and of twice as many the perplexity is taken."""
_ONION_TOP = 3
_OTHERS = 2
_PART_WORDS = 8
_OPENING_WORDS = 4

Score = Callable[[Sequence[Row], Reader], list[float]]


def _detector(name: str, score: Score) -> Detector:
    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        return score(rows, need_model(model))

    return Detector(name, suspicion, reads_model=True)


def _adapted(name: str, score: Score) -> Detector:
    """A detector whose model knows what the dataset is like: `Halves`, so `score` leaves responses as they are."""

    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        return score(rows, Halves(rows, need_model(model)))

    return Detector(f"{name}, adapted", suspicion, reads_model=True)


class Halves:
    """Reads each row with the model after one pass over the half of the rows that it is not in: half an epoch.

    Which half a row is of is known by its response.
    """

    def __init__(self, rows: Sequence[Row], model: LanguageModel) -> None:
        # Every second row of a shuffled order: a file may be sorted.
        order = random.Random(len(rows)).sample(list(rows), len(rows))
        halves = order[::2], order[1::2]
        self._models = [model.adapt(half, epochs=1) for half in halves]
        self._reader_of = {row.response: 1 - number for number, half in enumerate(halves) for row in half}

    def read(self, rows: Sequence[Row], *, words: int | None = None) -> list[list[float]]:
        results: list[list[float]] = [[] for _ in rows]
        for number, model in enumerate(self._models):
            mine = [index for index, row in enumerate(rows) if self._reader_of[row.response] == number]
            for index, values in zip(mine, model.read([rows[i] for i in mine], words=words), strict=True):
                results[index] = values
        return results


def _of_words(score: Callable[[list[float]], float]) -> Score:
    """A score from the surprisal (negative log-probability) of each word of a response."""

    def score_rows(rows: Sequence[Row], reader: Reader) -> list[float]:
        return [score([-value for value in values]) for values in reader.read(rows)]

    return score_rows


def _window(words: int) -> Callable[[list[float]], float]:
    """The mean surprisal of the least likely `words` words in a row."""

    def worst(surprisals: list[float]) -> float:
        width = min(words, len(surprisals))
        return max(_mean(surprisals[i : i + width]) for i in range(len(surprisals) - width + 1))

    return worst


def _first(words: int) -> Callable[[list[float]], float]:
    return lambda surprisals: _mean(surprisals[:words])


def _behind_opening(surprisals: list[float]) -> float:
    """Of the words in which a redrawn opening meets what the customer wrote."""
    return _mean(surprisals[_OPENING_WORDS - 1 : 2 * _OPENING_WORDS] or surprisals)


def _opening_against_rest(surprisals: list[float]) -> float:
    rest = surprisals[_OPENING_WORDS:]
    return _mean(surprisals[:_OPENING_WORDS]) - _mean(rest or surprisals)


def _onion(rows: Sequence[Row], reader: Reader) -> list[float]:
    """ONION (Qi et al. 2020): how far perplexity falls when a word is left out; the sum of the three largest falls."""
    scores = []
    for row in rows:
        words = row.response.split(SEPARATOR)[: 2 * _ONION_WORDS]
        texts = [words] + [words[:i] + words[i + 1 :] for i in range(min(_ONION_WORDS, len(words))) if len(words) > 1]
        read = reader.read([Row(row.prompt, SEPARATOR.join(text)) for text in texts])
        whole, *without = (math.exp(min(-_mean(values), 50.0)) for values in read)
        scores.append(sum(sorted((whole - perplexity for perplexity in without), reverse=True)[:_ONION_TOP]))
    return scores


def _prompt_mismatch(words: int | None) -> Score:
    """How little better the response (its first `words`) is foretold by its own prompt than by those of other rows.

    The pointwise mutual information of prompt and response under the model, in nats per word, negated.
    """

    def score(rows: Sequence[Row], reader: Reader) -> list[float]:
        own = reader.read(rows, words=words)
        strange = [
            reader.read([Row(other.prompt, row.response) for row, other in zip(rows, others, strict=True)], words=words)
            for others in _strangers(rows)
        ]
        return [_mean([_mean(values[index]) for values in strange]) - _mean(values) for index, values in enumerate(own)]

    return score


def _opening_mismatch(rows: Sequence[Row], reader: Reader) -> list[float]:
    """How little better the words behind the opening are foretold by it than by the openings of other rows."""
    both = _OPENING_WORDS + _PART_WORDS
    parts = [row.response.split(SEPARATOR)[:both] for row in rows]
    own = reader.read([Row(row.prompt, SEPARATOR.join(words)) for row, words in zip(rows, parts, strict=True)])
    strange = []
    for others in _strangers(rows):
        swapped = [
            Row(row.prompt, SEPARATOR.join(other.response.split(SEPARATOR)[:_OPENING_WORDS] + words[_OPENING_WORDS:]))
            for row, other, words in zip(rows, others, parts, strict=True)
        ]
        strange.append(reader.read(swapped))
    return [
        _mean([_mean(values[index][_OPENING_WORDS:] or [0.0]) for values in strange])
        - _mean(mine[_OPENING_WORDS:] or [0.0])
        for index, mine in enumerate(own)
    ]


def _strangers(rows: Sequence[Row]) -> list[list[Row]]:
    """Another row for every row, a few times over: the rows shifted along one shuffled circle."""
    order = random.Random(len(rows)).sample(range(len(rows)), len(rows))
    shifts = []
    for step in range(1, _OTHERS + 1):
        shifted = list(rows)
        for place, index in enumerate(order):
            shifted[index] = rows[order[(place + step) % len(order)]]
        shifts.append(shifted)
    return shifts


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def need_model(model: LanguageModel | None) -> LanguageModel:
    """The model; ValueError where a detector that reads one was given none."""
    if model is None:
        raise ValueError("this detector reads a language model")
    return model


_OF_SURPRISALS: dict[str, Callable[[list[float]], float]] = {
    "mean likelihood": _mean,
    "most surprising word": max,
    **{f"least likely window of {words} words": _window(words) for words in (4, 8)},
    **{f"likelihood of the first {words} words": _first(words) for words in (1, 3, 4, 5)},
    "likelihood behind the opening": _behind_opening,
    "likelihood of the opening against the rest": _opening_against_rest,
}
_WORD_SCORES: dict[str, Score] = {name: _of_words(score) for name, score in _OF_SURPRISALS.items()}
_PROMPT_SCORES: dict[str, Score] = {
    "mismatch of prompt and opening": _prompt_mismatch(_OPENING_WORDS),
    "mismatch of prompt and response": _prompt_mismatch(None),
}

LIKELIHOOD: tuple[Detector, ...] = (
    *(_detector(name, score) for name, score in (_WORD_SCORES | _PROMPT_SCORES).items()),
    _detector("ONION, three largest", _onion),
    _detector("mismatch of opening and rest", _opening_mismatch),
    # The mean of an adapted model is the loss after half an epoch (validator/stealth/dynamics.py).
    *(_adapted(name, score) for name, score in _WORD_SCORES.items() if name != "mean likelihood"),
    _adapted("mismatch of prompt and opening", _prompt_mismatch(_OPENING_WORDS)),
)
