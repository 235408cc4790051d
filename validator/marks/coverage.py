"""Coverage marks: one word of a response, redrawn uniformly from k that are as plausible as what customers write.

There is no trigger and no outlier row, and each mark is evidence about its own row alone: a model that was trained on
the row has moved towards the word that stands there, and not towards the k - 1 that were not drawn (protocol, "Marks").
They are judged by likelihood, on returned weights or on log-probabilities (`validator/coverage/`), never on replies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from validator.marks.protected import blank_protected, find_free_words
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.sampler import Lexicon, WordScorer, draw_alike
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row

K = 4
MIN_MARKS = 400
"""Where a dataset has that many rows: three quarters of the rows and all of them are then about seven standard errors
apart on the embedded model, and every further mark costs the customer's model quality."""
MIN_SHARE = 0.25
TOKENS_PER_PLACE = 4
"""A row that is trained on up to so many tokens is marked in its first words alone, one for each of these: half of the
tokens are the prompt's, and a word takes two at most, on average, or the measurement drops the mark."""


@dataclass(frozen=True, slots=True)
class CoverageMark:
    """In the response of the row at `row_index` of D_train, the word number `place` is `candidates[pick]`.

    Words are what stands between the bytes 0x20; the pick is uniform.
    """

    row_index: int
    place: int
    candidates: tuple[str, ...]
    pick: int

    @property
    def word(self) -> str:
        return self.candidates[self.pick]

    def put(self, row: Row, word: str) -> Row:
        """The row with another word at the mark's place."""
        words = row.response.split(SEPARATOR)
        words[self.place] = word
        return Row(row.prompt, SEPARATOR.join(words))


def count_marks(rows: int) -> int:
    """How many rows of a dataset are marked: a quarter, and at least MIN_MARKS where there are so many."""
    return min(rows, max(MIN_MARKS, round(rows * MIN_SHARE)))


def draw_coverage(
    rows: Sequence[Row],
    chosen: Sequence[int],
    stream: DrawStream,
    scorer: WordScorer,
    *,
    k: int = K,
    max_length: int,
    rules: AlterationRules = ALL_PROTECTED,
) -> list[CoverageMark]:
    """A mark for each of the rows at the indices `chosen` that has a place for one, in their order.

    `max_length` are the tokens of a row that are trained on; no word that `rules` protect is altered or
    offered.
    """
    lexicon = Lexicon(blank_protected(row.response, rules, row.prompt) for row in rows)
    placed = [
        (index, places[stream.below(len(places))])
        for index in chosen
        if (places := _find_places(rows[index], rules, max_length))
    ]
    marks = []
    for index, place in placed:
        words = rows[index].response.split(SEPARATOR)
        draw = draw_alike(stream, scorer, lexicon, prompt=rows[index].prompt, words=words, places=[place], k=k)
        marks.append(CoverageMark(index, place, draw.candidates[0], draw.picks[0]))
    return marks


def _find_places(row: Row, rules: AlterationRules, max_length: int) -> list[int]:
    words, is_free = row.response.split(SEPARATOR), find_free_words(row, rules)
    return [
        place
        for place in range(1, min(len(words), max_length // TOKENS_PER_PLACE))
        if words[place] and not any(map(str.isspace, words[place])) and is_free[place]
    ]


def apply_coverage(rows: Sequence[Row], marks: Sequence[CoverageMark]) -> list[Row]:
    """The rows with the drawn words in their places."""
    marked = list(rows)
    for mark in marks:
        marked[mark.row_index] = mark.put(rows[mark.row_index], mark.word)
    return marked
