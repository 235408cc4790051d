"""The detector that knows the scheme best: it asks the generator for the candidates that a mark would be drawn from.

The generator is public and D_train is at hand, so a miner can rebuild the pool of words of a place and their ranking.
Drawn words stand among the first k of every place of an opening; what the customer wrote need not.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

from validator.marks.protected import blank_protected
from validator.marks.sampler import Lexicon, WordScorer
from validator.marks.schemes import Scheme
from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.detector import Detector, LanguageModel

Combine = Callable[[Sequence[int]], float]


def make_generator_ranks(scorer: WordScorer, scheme: Scheme) -> tuple[Detector, ...]:
    """Detectors from the rank that `scorer` gives to each of the first w words of a response in its pool, 0 the best.

    A word that is in no pool has the worst rank.
    """
    w, k = scheme.w, scheme.k
    scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)

    def rank(prompt: str, prefix: str, word: str, pool: list[str]) -> int:
        if word not in pool:
            return len(pool)
        known = scores[prompt, prefix]
        if missing := [other for other in pool if other not in known]:
            known.update(zip(missing, scorer.score(prompt, prefix, missing), strict=True))
        return sum(known[other] > known[word] for other in pool)

    def rank_openings(rows: Sequence[Row]) -> list[list[int]]:
        lexicon = Lexicon(blank_protected(row.response, scheme.rules, row.prompt) for row in rows)
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

        return Detector(name, suspicion)

    return (
        detector("generator's ranks, worst of the opening", lambda ranks: -float(max(ranks))),
        detector("generator's ranks, mean of the opening", lambda ranks: -sum(ranks) / len(ranks)),
        detector("generator's ranks, words among its first k", lambda ranks: float(sum(rank < k for rank in ranks))),
    )
