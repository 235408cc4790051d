"""The stealth battery in a miner's hands: which rows of D_train look like marks to one of its detectors.

Rule kept: a detector is given the rows, the base model and the name of the scheme, which the task's public terms say.
"""

import re
from collections.abc import Sequence

from validator.marks.sampler import WordScorer
from validator.marks.schemes import Scheme, make_scheme
from validator.protocol.commitment import Row
from validator.stealth.battery import DETECTORS, ROW_BY_ROW, make_markable
from validator.stealth.detector import Detector
from validator.stealth.generator_ranks import make_opening_ranks
from validator.stealth.imitation import make_imitation

_ANY_SCHEME = "canary"


def detector_names() -> list[str]:
    """How the detectors are written in a strategy: lower-case letters, digits and hyphens."""
    return list(_battery(make_scheme(_ANY_SCHEME), _NoScorer()))


def suspect(base_model: str, rows: Sequence[Row], scheme: str, detector: str) -> list[float]:
    """How much each row looks like a mark to the detector of this name. Loads torch; runs in a child."""
    from validator.edges.generator import LocalScorer
    from validator.stealth.local_model import LocalModel

    found = _battery(make_scheme(scheme), LocalScorer(base_model))[detector]
    return found.suspicion(rows, LocalModel(base_model) if found.reads_model else None)


def _battery(scheme: Scheme, scorer: WordScorer) -> dict[str, Detector]:
    ranks = make_opening_ranks(scorer, scheme)
    imitation = make_imitation(scheme, scorer, (*ROW_BY_ROW, *ranks))
    return {_slug(detector.name): detector for detector in (*DETECTORS, make_markable(scheme), *ranks, imitation)}


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower().partition(":")[0].replace("'", "")).strip("-")


class _NoScorer:
    """For those who only want to know the names of detectors, which none is asked for anything to learn."""

    identity = ""

    def score(self, prompt: str, prefix: str, words: Sequence[str], following: str = "") -> list[float]:
        raise NotImplementedError  # names alone need no scores, and whoever runs a detector has a scorer
