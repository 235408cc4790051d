"""The detectors that know the schemes best: they ask the generator for the candidates that a mark would be drawn from.

The generator is public and D_train is at hand, so a miner can rebuild the pool of words of a place and their ranking.
Were the drawn words simply the best of their pools, they would be told from what customers write, which need not be.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

from validator.marks.protected import blank_protected, find_free_words
from validator.marks.rules import AlterationRules
from validator.marks.sampler import POOL_SIZE, Lexicon, WordScorer
from validator.marks.schemes import Scheme
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.detector import Detector, LanguageModel

_KEY = bytes(range(32))
MAX_PLACES = 24
"""Of a response, where a mark may be anywhere."""
_LEAST_POOL = 4
"""Words to compare one with; a backdoor draws from more than every shape of word has."""

Places = Callable[[Row], Sequence[int]]
Combine = Callable[[Sequence[float]], float]


def make_opening_ranks(scorer: WordScorer, scheme: Scheme) -> tuple[Detector, ...]:
    """For canaries: from the ranks that `scorer` gives to each of the first w words of a response in a pool of
    its own, from 0, the best, to under 1.
    """
    find_ranks = _Ranks(scorer, scheme.rules.of_openings, scheme.k, lambda _row: range(scheme.w))
    return (
        find_ranks.detector("generator's ranks, worst of the opening", lambda ranks: -max(ranks)),
        find_ranks.detector("generator's ranks, mean of the opening", lambda ranks: -sum(ranks) / len(ranks)),
        find_ranks.detector(
            "generator's ranks, opening among the first k",
            lambda ranks: float(sum(rank < scheme.k / POOL_SIZE for rank in ranks)),
        ),
    )


def make_word_ranks(scorer: WordScorer, rules: AlterationRules, k: int) -> tuple[Detector, ...]:
    """For coverage marks: from the ranks of all words of a response that `rules` let be altered, up to MAX_PLACES."""

    def places(row: Row) -> list[int]:
        words = zip(row.response.split(SEPARATOR), find_free_words(row, rules), strict=True)
        return [place for place, (word, is_free) in enumerate(words) if place and word and is_free][:MAX_PLACES]

    find_ranks = _Ranks(scorer, rules, k, places)
    return (
        find_ranks.detector("generator's ranks, mean of all words", lambda ranks: -sum(ranks) / max(1, len(ranks))),
        find_ranks.detector(
            "generator's ranks, share of words among the first k",
            lambda ranks: sum(rank < k / POOL_SIZE for rank in ranks) / max(1, len(ranks)),
        ),
        find_ranks.detector(
            "generator's ranks, words not among the first k",
            lambda ranks: -float(sum(rank >= k / POOL_SIZE for rank in ranks)),
        ),
    )


class _Ranks:
    """Ranks of words in their pools, which for openings are split by what the prompt has; what the generator has said
    once is not asked again.
    """

    def __init__(self, scorer: WordScorer, rules: AlterationRules, k: int, places: Places) -> None:
        self._scorer, self._rules, self._k, self._places = scorer, rules, k, places
        self._scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)

    def detector(self, name: str, combine: Combine) -> Detector:
        def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
            return list(map(combine, self._rank_all(rows)))

        return Detector(name, suspicion)

    def _rank_all(self, rows: Sequence[Row]) -> list[list[float]]:
        lexicon = Lexicon(blank_protected(row.response, self._rules, row.prompt) for row in rows)

        stream = DrawStream(_KEY)
        least = min(self._k, _LEAST_POOL)

        @cache
        def pool_of(word: str, place: int, prompt: str) -> list[str]:
            pool = lexicon.pool(word, is_opening=place == 0, k=least, prompt=prompt, stream=stream)
            return pool if word in pool else [*pool, word]

        ranks = []
        for row in rows:
            words = row.response.split(SEPARATOR)
            ranks.append(
                [
                    self._rank(
                        row.prompt, SEPARATOR.join(words[:place]), word, pool_of(word, min(place, 1), row.prompt)
                    )
                    for place in self._places(row)
                    for word in words[place : place + 1]
                ]
            )
        return ranks

    def _rank(self, prompt: str, prefix: str, word: str, pool: list[str]) -> float:
        known = self._scores[prompt, prefix]
        if missing := [other for other in pool if other not in known]:
            known.update(zip(missing, self._scorer.score(prompt, prefix, missing), strict=True))
        return sum(known[other] > known[word] for other in pool) / len(pool)
