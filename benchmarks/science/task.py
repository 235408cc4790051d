"""The rows of a cell, marked: chosen and drawn by the seed, the same ones for every miner of one task."""

import hashlib
import random
from collections.abc import Sequence, Set
from dataclasses import dataclass

from benchmarks.science.data import DATASETS
from benchmarks.science.setting import MAX_LENGTH, Setting
from validator.edges.datasets import choose_rows
from validator.errors import BadInput
from validator.marks.coverage import apply_coverage, count_marks, draw_coverage
from validator.marks.planting import check_learnable, find_markable
from validator.marks.sampler import WordScorer
from validator.marks.schemes import Mark, Scheme, make_scheme
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row
from validator.protocol.wire import encode_training_file


@dataclass(frozen=True, slots=True)
class Task:
    """`rows` is D, `planted` is D_train; `held_out` and `other` are further rows of the dataset, as many as there are.

    `refusal` is what the product says where it would not plant so many marks in these rows.
    """

    scheme: Scheme
    rows: list[Row]
    planted: list[Row]
    marks: list[Mark]
    held_out: list[Row]
    other: list[Row]
    refusal: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of D_train: cells of one task that differ in it were measured with different versions of the code."""
        return hashlib.sha256(encode_training_file(self.planted)).hexdigest()


def prepare(setting: Setting, scorer: WordScorer) -> Task:
    """Plant with the product's own scheme, without its limits on n and K, which the campaign goes beyond.

    BadInput where not even n rows can be marked.
    """
    scheme = make_scheme(setting.scheme)
    rows, rest = _split(DATASETS[setting.data].load(), setting.rows, setting.seed)
    refusal = None
    try:
        check_learnable(rows, scheme, setting.marks)
    except BadInput as error:
        refusal = str(error)
    markable = find_markable(rows, scheme)
    if len(markable) < setting.marks:
        raise BadInput(refusal or "too few rows can be marked")
    stream = DrawStream(hashlib.sha256(f"science {setting.task}".encode()).digest())
    marks = scheme.plant(rows, stream.sample(markable, setting.marks), stream, scorer)
    planted = _cover(rows, scheme, {mark.row_index for mark in marks}, stream, scorer)
    for mark in marks:
        planted[mark.row_index] = mark.row
    held_out, other = rest[: setting.held_out], rest[setting.held_out : setting.held_out + setting.rows]
    return Task(scheme, rows, planted, marks, held_out, other, refusal)


def _cover(rows: Sequence[Row], scheme: Scheme, probed: Set[int], stream: DrawStream, scorer: WordScorer) -> list[Row]:
    """The rows with coverage marks where the scheme has them, as the product plants them."""
    if not scheme.coverage_k:
        return list(rows)
    free = [index for index in range(len(rows)) if index not in probed]
    chosen = sorted(stream.sample(free, min(len(free), count_marks(len(rows)))))
    options = {"k": scheme.coverage_k, "max_length": MAX_LENGTH}
    return apply_coverage(rows, draw_coverage(rows, chosen, stream, scorer, rules=scheme.rules, **options))


def _split(pool: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """The rows of the task in their order, and the rest of them shuffled."""
    rows = choose_rows(pool, count, seed)
    chosen = set(rows)
    rest = [row for row in pool if row not in chosen]
    random.Random(seed).shuffle(rest)
    return rows, rest
