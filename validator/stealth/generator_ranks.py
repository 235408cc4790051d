"""The detector that knows the scheme best: it asks the generator for the candidates that a mark would be drawn from.

The generator is public and D_train is at hand, so a miner can rebuild the pool of words of a place and their ranking.
Drawn words stand among the first k of every place of an opening; what the customer wrote need not.
"""

from collections.abc import Callable, Sequence
from functools import cache

from validator.marks.sampler import Lexicon, WordScorer
from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.detector import Detector, LanguageModel

Combine = Callable[[Sequence[int]], float]


def make_generator_ranks(scorer: WordScorer, *, w: int, k: int) -> tuple[Detector, ...]:
    """Detectors from the rank that `scorer` gives to each of the first w words of a response in its pool, 0 the best.

    A row one of whose words is in no pool has the worst rank there.
    """
    kept: dict[tuple[str, str, tuple[str, ...]], int] = {}

    def rank(prompt: str, prefix: str, word: str, pool: list[str]) -> int:
        if word not in pool:
            return len(pool)
        key = (prompt, prefix, (word, *pool))
        if key not in kept:
            scores = scorer.score(prompt, prefix, pool)
            own = scores[pool.index(word)]
            kept[key] = sum(score > own for score in scores)
        return kept[key]

    def rank_openings(rows: Sequence[Row]) -> list[list[int]]:
        lexicon = Lexicon(row.response for row in rows)
        pool_of = cache(lambda word, is_opening: lexicon.pool(word, is_opening=is_opening, k=k))
        openings = [(row.prompt, row.response.split(SEPARATOR)[:w]) for row in rows]
        return [
            [
                rank(prompt, SEPARATOR.join(words[:place]), word, pool_of(word, place == 0))
                for place, word in enumerate(words)
            ]
            for prompt, words in openings
        ]

    def detector(name: str, combine: Combine) -> Detector:
        def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
            return list(map(combine, rank_openings(rows)))

        return Detector(f"{name}, w={w}", suspicion)

    return (
        detector("generator's ranks, worst of the opening", lambda ranks: -float(max(ranks))),
        detector("generator's ranks, mean of the opening", lambda ranks: -sum(ranks) / len(ranks)),
        detector("generator's ranks, words among its first k", lambda ranks: float(sum(rank < k for rank in ranks))),
    )
