"""The marks of a planted dataset as bytes, to be sealed: everything that is not derived again from them.

Those for coverage are apart, since there may be many, and they are looked at once a task.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from validator.marks.coverage import CoverageMark
from validator.marks.planting import PlantedMarks
from validator.marks.sampler import Draw
from validator.marks.schemes import Mark, decode_scheme_parameters, encode_scheme_parameters
from validator.protocol.commitment import Row, hash_row
from validator.types import Hash32


def encode_marks(planted: PlantedMarks) -> bytes:
    body = {
        "scheme": encode_scheme_parameters(planted.scheme),
        "generator": planted.generator,
        "dataset_salt": planted.dataset_salt.hex(),
        "dataset_root": planted.dataset_root.hex(),
        "marks": [asdict(mark) for mark in planted.marks],
        "mark_proofs": [[node.hex() for node in proof] for proof in planted.mark_proofs],
        "source_prompts": planted.source_prompts,
    }
    return json.dumps(body, ensure_ascii=False).encode()


def decode_marks(encoded: bytes, source_data_hash: bytes) -> PlantedMarks:
    """What `encode_marks` was given; the scheme with the parameters that it had then."""
    body = json.loads(encoded)
    scheme = decode_scheme_parameters(body["scheme"])
    salt, marks = _parse_hash(body["dataset_salt"]), tuple(_parse_mark(**mark) for mark in body["marks"])
    return PlantedMarks(
        scheme=scheme,
        source_data_hash=source_data_hash,
        dataset_salt=salt,
        marks=marks,
        mark_hashes=tuple(hash_row(salt, mark.row, scheme.w) for mark in marks),
        mark_proofs=tuple(tuple(map(_parse_hash, proof)) for proof in body["mark_proofs"]),
        source_prompts=tuple(body["source_prompts"]),
        dataset_root=_parse_hash(body["dataset_root"]),
        generator=body["generator"],
    )


def encode_coverage(marks: Sequence[CoverageMark]) -> bytes:
    return json.dumps([asdict(mark) for mark in marks], ensure_ascii=False).encode()


def decode_coverage(encoded: bytes) -> list[CoverageMark]:
    return [CoverageMark(**mark | {"candidates": tuple(mark["candidates"])}) for mark in json.loads(encoded)]


def _parse_hash(digits: str) -> Hash32:
    return Hash32(bytes.fromhex(digits))


def _parse_mark(row_index: int, row: dict[str, str], draw: dict[str, Any]) -> Mark:
    candidates = tuple(tuple(options) for options in draw["candidates"])
    return Mark(row_index, Row(**row), Draw(candidates, tuple(draw["picks"])))
