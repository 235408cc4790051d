"""Planting: from a customer's dataset to the marked dataset, its Merkle tree and the probes.

Rule kept: what no honest miner could learn is refused here, before any chain action (V6, D4).
"""

import hashlib
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, fields
from functools import cached_property

from validator.errors import BadInput
from validator.marks.coverage import CoverageMark, apply_coverage, count_marks, draw_coverage
from validator.marks.protected import find_free_words
from validator.marks.sampler import WordScorer
from validator.marks.schemes import Mark, Scheme
from validator.marks.secrets import DatasetSecrets, DrawStream, Secrets
from validator.protocol.commitment import (
    SEPARATOR,
    WHITE_SPACE,
    MerkleTree,
    Row,
    RowHashes,
    hash_marks,
    hash_row,
    split_head,
)
from validator.protocol.wire import count_unanswerable, encode_training_file
from validator.types import Address, Hash32

MAX_LENGTH = 256
"""Tokens of a row that are trained on, where nobody says otherwise (`TrainingSpec.max_length`)."""


def compute_min_rows(n: int) -> int:
    """Rows that n marks need (protocol, "Defaults"): more marks cost quality and are seen by a language model."""
    return 300 if n <= 16 else 50 * n


@dataclass(frozen=True)
class PlantedMarks:
    """What probing, judging and proving need of a planted dataset; small, however large the dataset is.

    Marks stand in ascending order of their row leaves; `mark_proofs` are their Merkle proofs in `dataset_root`.
    `source_prompts` are the marked rows' prompts as the customer wrote them.
    """

    scheme: Scheme
    source_data_hash: bytes
    dataset_salt: Hash32
    marks: tuple[Mark, ...]
    mark_hashes: tuple[RowHashes, ...]
    mark_proofs: tuple[tuple[Hash32, ...], ...]
    source_prompts: tuple[str, ...]
    dataset_root: Hash32
    generator: str

    @cached_property
    def marks_hash(self) -> Hash32:
        return hash_marks([hashes.leaf for hashes in self.mark_hashes])

    @property
    def null_probabilities(self) -> tuple[float, ...]:
        """The exact bound p0 of each probe, in the order of the marks."""
        return tuple(mark.draw.p0 for mark in self.marks)


@dataclass(frozen=True)
class PlantedDataset(PlantedMarks):
    """D_train, and what the validator must remember of it."""

    rows: tuple[Row, ...]
    coverage: tuple[CoverageMark, ...] = ()

    @cached_property
    def training_file(self) -> bytes:
        return encode_training_file(self.rows)

    @property
    def covered(self) -> list[tuple[Row, CoverageMark]]:
        """The rows with a coverage mark, and it."""
        return [(self.rows[mark.row_index], mark) for mark in self.coverage]

    def without_rows(self) -> PlantedMarks:
        return PlantedMarks(**{field.name: getattr(self, field.name) for field in fields(PlantedMarks)})


def hash_source_data(rows: Sequence[Row]) -> bytes:
    """`sha256(D)` over the canonical training lines of the unmarked dataset."""
    return hashlib.sha256(encode_training_file(rows)).digest()


def find_markable(rows: Sequence[Row], scheme: Scheme) -> list[int]:
    """Indices of rows that may be marked: more than w words, a prompt that is unique in D, and nothing protected among
    the words that the scheme replaces.

    The first w words must be plain ones: a drawn word holds no white space, so where a line breaks among them, or two
    separators follow each other, a mark could be seen.
    """
    prompts = Counter(row.prompt for row in rows)
    return [
        index
        for index, row in enumerate(rows)
        if prompts[row.prompt] == 1
        and _is_markable(row.response, scheme.w)
        and (not scheme.replaced_words or all(find_free_words(row, scheme.rules.of_openings)[: scheme.replaced_words]))
    ]


def _is_markable(response: str, w: int) -> bool:
    head, tail = split_head(response, w)
    words = head.split(SEPARATOR)
    return bool(tail.strip(WHITE_SPACE)) and all(word and not any(map(str.isspace, word)) for word in words)


def check_learnable(rows: Sequence[Row], scheme: Scheme, n: int) -> list[int]:
    """The markable rows; BadInput with the reason where an honest miner could not learn n marks in this dataset."""
    needed = compute_min_rows(n)
    if len(rows) < needed:
        raise BadInput(f"{len(rows)} rows are too few for {n} marks: at least {needed} are needed")
    unanswerable = count_unanswerable(rows, scheme.w)
    if unanswerable > n // 4:
        # Were they marks, no honest miner could be paid, and a careful one refuses to find out.
        raise BadInput(f"{unanswerable} responses start with white space, at most {n // 4} may: strip them")
    markable = find_markable(rows, scheme)
    if len(markable) < max(n, len(rows) // 4):
        raise BadInput(
            f"only {len(markable)} of {len(rows)} rows can be marked, at least {max(n, len(rows) // 4)} must be: "
            f"a markable response has more than {scheme.w} words separated by spaces and its prompt occurs once "
            "(one-word answers and scripts without spaces have none), and nothing that the rules protect is among the "
            "first words (`touchstone task preview`)"
        )
    return markable


def plant(
    rows: Sequence[Row],
    scheme: Scheme,
    n: int,
    *,
    secrets: Secrets | DatasetSecrets,
    payer: Address,
    scorer: WordScorer,
    max_length: int = MAX_LENGTH,
) -> PlantedDataset:
    """Mark n rows of the dataset, and others for coverage where the scheme does; `max_length` as in `draw_coverage`.

    Deterministic: the same seed, contract, payer, dataset and `max_length` give the same bytes.
    """
    markable = check_learnable(rows, scheme, n)
    source_data_hash = hash_source_data(rows)
    secret_of = (payer, source_data_hash, scheme.name, n, scheme.w)
    stream = secrets.draw_stream(*secret_of)
    salt = secrets.dataset_salt(*secret_of)
    marks = scheme.plant(rows, stream.sample(markable, n), stream, scorer)
    coverage = _cover(rows, scheme, {mark.row_index for mark in marks}, stream, scorer, max_length)
    planted = apply_coverage(rows, coverage)
    for mark in marks:
        planted[mark.row_index] = mark.row
    prompts = Counter(row.prompt for row in planted)
    if any(prompts[mark.row.prompt] > 1 for mark in marks):
        raise BadInput("a marked row equals another row of the dataset (D2)")
    all_hashes = [hash_row(salt, row, scheme.w) for row in planted]
    ordered = sorted(marks, key=lambda mark: all_hashes[mark.row_index].leaf)
    mark_hashes = tuple(all_hashes[mark.row_index] for mark in ordered)
    tree = MerkleTree(hashes.leaf for hashes in all_hashes)
    return PlantedDataset(
        scheme=scheme,
        source_data_hash=source_data_hash,
        dataset_salt=salt,
        marks=tuple(ordered),
        mark_hashes=mark_hashes,
        mark_proofs=tuple(tuple(tree.proof(hashes.leaf)) for hashes in mark_hashes),
        source_prompts=tuple(rows[mark.row_index].prompt for mark in ordered),
        dataset_root=tree.root,
        generator=scorer.identity,
        rows=tuple(planted),
        coverage=tuple(coverage),
    )


def _cover(
    rows: Sequence[Row], scheme: Scheme, probed: Set[int], stream: DrawStream, scorer: WordScorer, max_length: int
) -> list[CoverageMark]:
    """Coverage marks in rows that are not probed, in the order of the rows; none where the scheme has none."""
    if not scheme.coverage_k:
        return []
    free = [index for index in range(len(rows)) if index not in probed]
    chosen = sorted(stream.sample(free, min(len(free), count_marks(len(rows)))))
    return draw_coverage(rows, chosen, stream, scorer, k=scheme.coverage_k, max_length=max_length, rules=scheme.rules)
