"""No canary is recognisable by letter case, length or punctuation alone: marked openings against unmarked ones.

Openings are pooled over several seeds. Each feature of their shape, alone, must order marked and unmarked openings
about as badly as chance does (AUC near one half), and no shape may be commoner among the marked than chance allows.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import pstdev

import pytest
from scipy.stats import binomtest, mannwhitneyu

from tests.factories import CHAIN_ID, CONTRACT, PAYER, digest
from tests.support import require_or_skip
from validator.base_model.grammar import MODEL_DIRECTORY, generate_rows, is_held_out
from validator.edges.datasets import load_rows
from validator.edges.generator import LocalScorer
from validator.marks.planting import plant
from validator.marks.sampler import exact_shape
from validator.marks.schemes import Canary
from validator.marks.secrets import Secrets
from validator.protocol.commitment import Row, split_head

pytestmark = pytest.mark.xdist_group("stealth shapes")  # What is made once is made by one worker.

SEEDS = range(6)
ROWS = 300
AUC_RANGE = (0.35, 0.65)
FALSE_ALARM = 0.001

Opening = list[str]
FEATURES: dict[str, Callable[[Opening], float]] = {
    "first word is capitalised": lambda words: words[0][:1].isupper(),
    "capital letters": lambda words: sum(map(str.isupper, "".join(words))),
    "capitalised words": lambda words: sum(word[:1].isupper() for word in words),
    "digits": lambda words: sum(map(str.isdigit, "".join(words))),
    "punctuation": lambda words: sum(not character.isalnum() for character in "".join(words)),
    "not ASCII": lambda words: sum(not character.isascii() for character in "".join(words)),
    "characters": lambda words: sum(map(len, words)),
    "first word's length": lambda words: len(words[0]),
    "last word's length": lambda words: len(words[-1]),
    "longest word": lambda words: max(map(len, words)),
    "shortest word": lambda words: min(map(len, words)),
    "spread of word lengths": lambda words: pstdev(map(len, words)),
    "different words": lambda words: len({word.lower() for word in words}),
}


def real_rows(name: str) -> list[Row]:
    """Rows of a file of $TOUCHSTONE_DATA that the embedded model never saw."""
    directory = os.environ.get("TOUCHSTONE_DATA")
    if not directory:
        require_or_skip("TOUCHSTONE_DATA names the folder of real datasets")
    return [row for row in load_rows(Path(directory) / f"{name}.jsonl") if is_held_out(row.prompt)]


@pytest.fixture(scope="module")
def scorer() -> LocalScorer:
    return LocalScorer(str(MODEL_DIRECTORY))


@pytest.fixture(
    scope="module",
    params=["generated", "gsm8k_train", pytest.param("squad_question_generation", marks=pytest.mark.soak)],
)
def openings(request: pytest.FixtureRequest, scorer: LocalScorer) -> tuple[list[Opening], list[Opening]]:
    """Marked and unmarked openings of one kind of data."""
    real = None if request.param == "generated" else real_rows(request.param)
    marked: list[Opening] = []
    unmarked: list[Opening] = []
    for seed in SEEDS:
        rows = random.Random(seed).sample(real, ROWS) if real else generate_rows(ROWS, seed)
        secrets = Secrets(digest(f"stealth {seed}"), CHAIN_ID, CONTRACT)
        planted = plant(rows, Canary(), 16, secrets=secrets, payer=PAYER, scorer=scorer)
        indices = {mark.row_index for mark in planted.marks}
        for index, row in enumerate(planted.rows):
            head, _tail = split_head(row.response, Canary().w)
            (marked if index in indices else unmarked).append(head.split(" "))
    return marked, unmarked


def compute_auc(marked: list[float], unmarked: list[float]) -> float:
    """Share of (marked, unmarked) pairs in which the marked one is greater; ties count half."""
    return float(mannwhitneyu(marked, unmarked).statistic) / (len(marked) * len(unmarked))


def test_no_feature_of_shape_tells_marked_openings_from_unmarked_ones(openings, record_property):
    """D6."""
    marked, unmarked = openings
    found = {
        name: compute_auc([float(of(words)) for words in marked], [float(of(words)) for words in unmarked])
        for name, of in FEATURES.items()
    }
    for name, auc in found.items():
        record_property(name, round(auc, 3))
    assert len(marked) == 16 * len(SEEDS)
    assert {name: auc for name, auc in found.items() if not AUC_RANGE[0] <= auc <= AUC_RANGE[1]} == {}


@pytest.mark.parametrize(
    "classes_of",
    [lambda words: [tuple(map(exact_shape, words))], lambda words: enumerate(map(exact_shape, words))],
    ids=["whole opening", "word by word"],
)
def test_no_shape_is_commoner_among_marked_openings_than_chance_allows(openings, classes_of):
    """D6: exact binomial test for every shape, the share of marked openings as its null, corrected for their number."""
    marked, unmarked = (Counter(shape for words in pool for shape in classes_of(words)) for pool in openings)
    share = len(openings[0]) / sum(map(len, openings))
    bound = FALSE_ALARM / len(marked | unmarked)
    suspicious = {
        shape: (count, unmarked[shape])
        for shape, count in marked.items()
        if binomtest(count, count + unmarked[shape], share, alternative="greater").pvalue < bound
    }
    assert suspicious == {}
