"""A small planting whose words a stand-in for the generator proposes, and its secret as `touchstone plant` keeps it."""

from dataclasses import dataclass
from pathlib import Path

from tests.factories import digest
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.marks.planting import PlantedDataset, plant
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.protocol.state import Answer
from validator.verification.planting import NO_CHAIN, NOBODY, make_secret
from validator.verification.secret import PlantingSecret, read_secret

HELD_OUT = 16
SEED = digest("planting")


@dataclass(frozen=True)
class Planting:
    planted: PlantedDataset
    secret: PlantingSecret


def make_planting(scheme: str, seed: bytes = SEED, count: int = 300) -> Planting:
    rows = generate_rows(count + HELD_OUT, seed=4)
    secrets = Secrets(seed, NO_CHAIN, NOBODY)
    planted = plant(rows[HELD_OUT:], make_scheme(scheme), 16, secrets=secrets, payer=NOBODY, scorer=HashScorer())
    return Planting(planted, make_secret(seed, planted, rows[:HELD_OUT], 256))


def on_disk(planting: Planting, directory: Path) -> PlantingSecret:
    """The secret as a verification reads it."""
    planting.secret.create(directory / "secret.json")
    return read_secret(directory / "secret.json")


def all_prompts(secret: PlantingSecret) -> list[str]:
    return [mark.row.prompt for mark in secret.planted.marks] + [decoy.prompt for decoy in secret.decoys]


def as_answer(text: str) -> Answer:
    return Answer(text, is_cut=False)
