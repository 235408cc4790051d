"""A stand-in at the one seam of marks: a WordScorer that needs no model."""

import hashlib
from collections.abc import Sequence

from validator.protocol.commitment import Row


class HashScorer:
    """Finds words plausible by a hash of the whole context: another prompt or prefix, another ranking."""

    identity = "hash"

    def score(self, prompt: str, prefix: str, words: Sequence[str], following: str = "") -> list[float]:
        return [
            -float(hashlib.sha256("\0".join((prompt, prefix, word, following)).encode()).digest()[0]) for word in words
        ]  # 256 values, so that ties occur


class HashProposer(HashScorer):
    """Writes openings too: words that nobody would, in the letter case of the row's own."""

    def propose(self, rows: Sequence[Row], w: int, k: int) -> list[tuple[str, ...]]:
        return [tuple(self._write(row, number, w) for number in range(k)) for row in rows]

    def _write(self, row: Row, number: int, w: int) -> str:
        digits = hashlib.sha256(f"{row.prompt}\0{number}".encode()).hexdigest()
        text = " ".join("".join("abcdefghij"[int(digit, 16) % 10] for digit in digits[i : i + 5]) for i in range(w))
        return text.capitalize() if row.response[0].isupper() else text
