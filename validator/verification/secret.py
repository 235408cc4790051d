"""What the planter keeps: everything that is needed to verify later, in one file that nobody else may see.

Rule kept: the SHA-256 of the file is a commitment. It holds a fresh random seed, so the hash says nothing about the
marks, and whoever published it before the training can show afterwards that no mark was chosen with hindsight.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from validator.errors import BadInput
from validator.files import create_whole
from validator.marks.coverage import CoverageMark
from validator.marks.decoys import Decoy, DecoyKind, beginning
from validator.marks.planting import PlantedMarks
from validator.protocol.commitment import Row
from validator.protocol.wire import strict_json
from validator.requests.planting_file import decode_coverage, decode_marks, encode_coverage, encode_marks

FORMAT = "touchstone-secret/1"
MAX_BYTES = 1 << 30
FINGERPRINT_BYTES = 8
"""Of the beginning of a response: two of a million different ones are alike with probability 3e-8."""


@dataclass(frozen=True)
class PlantingSecret:
    """One planting. Rows are those of TRAIN but for `held_out`, which are in no file but this one."""

    seed: bytes
    planted: PlantedMarks
    covered: tuple[tuple[Row, CoverageMark], ...]
    training_sha256: bytes
    row_count: int
    max_length: int
    """Tokens of a row that the training was said to read."""
    held_out: tuple[Row, ...]
    sample: tuple[Row, ...]
    """Rows that are not probed: what the task's own text looks like."""
    decoys: tuple[Decoy, ...]
    beginnings: frozenset[str]
    """Fingerprints of how the responses of all rows begin."""
    natural_copies: tuple[int, int]
    """How many responses begin as another row's does, of how many."""
    commitment: bytes = b""
    """SHA-256 of the file that this was read from."""

    def __repr__(self) -> str:
        return "PlantingSecret(<redacted>)"

    def is_copy(self, reply: str) -> bool | None:
        """Whether a reply begins as a row's response does; None for one that is too short to tell."""
        start = beginning(reply)
        return None if start is None else fingerprint(start) in self.beginnings

    def create(self, path: Path) -> bytes:
        """Write the file, which only its owner reads; its commitment. BadInput if there is one already."""
        data = json.dumps(self._body(), ensure_ascii=False).encode() + b"\n"
        create_whole(path, data)
        return hashlib.sha256(data).digest()

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "seed": self.seed.hex(),
            "source_sha256": self.planted.source_data_hash.hex(),
            "training_sha256": self.training_sha256.hex(),
            "row_count": self.row_count,
            "max_length": self.max_length,
            "planted": json.loads(encode_marks(self.planted)),
            "coverage_rows": [asdict(row) for row, _mark in self.covered],
            "coverage_marks": json.loads(encode_coverage([mark for _row, mark in self.covered])),
            "held_out": [asdict(row) for row in self.held_out],
            "sample": [asdict(row) for row in self.sample],
            "decoys": [asdict(decoy) for decoy in self.decoys],
            "beginnings": sorted(self.beginnings),
            "natural_copies": self.natural_copies,
        }


def fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * FINGERPRINT_BYTES]


def read_secret(path: Path) -> PlantingSecret:
    """BadInput if the file cannot be read, can be read by others, or is not one of `touchstone plant`'s."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise BadInput(f"cannot read the secret {path}: {error.strerror}") from error
    if mode & 0o077:
        raise BadInput(f"the secret {path} can be read by other users: chmod 600 it")
    try:
        body = strict_json(data)
        if body["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        marks = decode_coverage(json.dumps(body["coverage_marks"]).encode())
        rows = _rows(body["coverage_rows"])
        return PlantingSecret(
            seed=bytes.fromhex(body["seed"]),
            planted=decode_marks(json.dumps(body["planted"]).encode(), bytes.fromhex(body["source_sha256"])),
            covered=tuple(zip(rows, marks, strict=True)),
            training_sha256=bytes.fromhex(body["training_sha256"]),
            row_count=body["row_count"],
            max_length=body["max_length"],
            held_out=_rows(body["held_out"]),
            sample=_rows(body["sample"]),
            decoys=tuple(Decoy(DecoyKind(decoy["kind"]), decoy["prompt"], decoy["head"]) for decoy in body["decoys"]),
            beginnings=frozenset(body["beginnings"]),
            natural_copies=(body["natural_copies"][0], body["natural_copies"][1]),
            commitment=hashlib.sha256(data).digest(),
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BadInput(f"{path} is no secret that `touchstone plant` has written: {error}") from None


def _rows(values: list[dict[str, str]]) -> tuple[Row, ...]:
    return tuple(Row(value["prompt"], value["response"]) for value in values)
