"""Generated rows, marked, with no model: what detectors are tried on."""

from functools import cache

from tests.factories import CHAIN_ID, CONTRACT, PAYER, digest
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.marks.planting import plant
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.protocol.commitment import Row

ROWS, N = 300, 16


@cache
def marked_rows(scheme: str, seed: int = 0) -> tuple[tuple[Row, ...], frozenset[int]]:
    """D_train and the indices of its marked rows."""
    secrets = Secrets(digest(f"stealth {seed}"), CHAIN_ID, CONTRACT)
    rows = generate_rows(ROWS, seed)
    planted = plant(rows, make_scheme(scheme), N, secrets=secrets, payer=PAYER, scorer=HashScorer())
    return planted.rows, frozenset(mark.row_index for mark in planted.marks)
