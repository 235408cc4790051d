"""A stand-in at the one seam of marks: a WordScorer that needs no model."""

import hashlib
from collections.abc import Sequence


class HashScorer:
    """Finds words plausible by a hash of the whole context: another prompt or prefix, another ranking."""

    identity = "hash"

    def score(self, prompt: str, prefix: str, words: Sequence[str]) -> list[float]:
        return [
            -float(hashlib.sha256("\0".join((prompt, prefix, word)).encode()).digest()[0]) for word in words
        ]  # 256 values, so that ties occur
