"""From a dataset to the file that goes to a provider, and the secret that stays.

Rule kept: every planting has a fresh random seed (H6), so marking one dataset twice gives two different files, and
whoever got both would see the marks by comparing them: one dataset is planted once.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence

from validator.base_model import EMBEDDED_MODEL
from validator.errors import BadInput
from validator.marks.decoys import beginning, count_natural_copies, make_decoys
from validator.marks.planting import PlantedDataset
from validator.marks.schemes import Scheme
from validator.marks.secrets import DrawStream, Secrets, derive_stream
from validator.model_work import ModelWork
from validator.planting_job import plant_in
from validator.protocol.commitment import Row
from validator.types import Address
from validator.verification.secret import PlantingSecret, fingerprint

SEED_BYTES = 32
NO_CHAIN, NOBODY = 0, Address("0x" + "00" * 20)
EMBEDDED = "embedded"
SAMPLE_ROWS = 128


def find_model(name: str) -> str:
    """A directory or Hugging Face id from what the command line takes; `embedded` is the shipped model."""
    return EMBEDDED_MODEL if name == EMBEDDED else name


async def plant_for_provider(
    work: ModelWork, rows: Sequence[Row], scheme: Scheme, n: int, *, generator: str, hold_out: int, max_length: int
) -> tuple[PlantingSecret, PlantedDataset]:
    """Mark n rows, keep `hold_out` others back, and draw the decoys; BadInput as `plant`, or with too few rows left."""
    seed = os.urandom(SEED_BYTES)
    held_out, kept = _hold_out(rows, hold_out, derive_stream(seed, "hold out"))
    secrets = Secrets(seed, NO_CHAIN, NOBODY)
    planted = await plant_in(work, find_model(generator), kept, scheme, n, secrets, NOBODY, max_length)
    return make_secret(seed, planted, held_out, max_length), planted


def make_secret(seed: bytes, planted: PlantedDataset, held_out: Sequence[Row], max_length: int) -> PlantingSecret:
    """What is to be kept of a planting; decoys and sample come from the seed."""
    probed = {mark.row_index for mark in planted.marks}
    others = [row for index, row in enumerate(planted.rows) if index not in probed]
    starts = [beginning(row.response) for row in planted.rows]
    return PlantingSecret(
        seed=seed,
        planted=planted.without_rows(),
        covered=tuple(planted.covered),
        training_sha256=hashlib.sha256(planted.training_file).digest(),
        row_count=len(planted.rows),
        max_length=max_length,
        held_out=tuple(held_out),
        sample=tuple(derive_stream(seed, "sample").sample(others, min(SAMPLE_ROWS, len(others)))),
        decoys=tuple(make_decoys(planted, derive_stream(seed, "decoys"), [row.prompt for row in held_out])),
        beginnings=frozenset(fingerprint(start) for start in starts if start is not None),
        natural_copies=count_natural_copies(planted.rows),
    )


def _hold_out(rows: Sequence[Row], count: int, stream: DrawStream) -> tuple[list[Row], list[Row]]:
    """Rows whose prompt occurs once, and all the others in their order."""
    prompts = Counter(row.prompt for row in rows)
    unique = [index for index, row in enumerate(rows) if prompts[row.prompt] == 1]
    if count > len(unique):
        raise BadInput(f"{count} rows cannot be kept out: {len(unique)} of {len(rows)} have a prompt of their own")
    chosen = set(stream.sample(unique, count))
    held_out = [row for index, row in enumerate(rows) if index in chosen]
    return held_out, [row for index, row in enumerate(rows) if index not in chosen]
