"""The whole battery over one marked dataset, as numbers that a campaign can keep."""

import time
from collections.abc import Collection, Sequence
from typing import Any

from validator.protocol.commitment import Row
from validator.stealth.detector import Detector, LanguageModel
from validator.stealth.dynamics import DYNAMICS
from validator.stealth.likelihood import LIKELIHOOD
from validator.stealth.metrics import rank_marks
from validator.stealth.wording import WORDING

DETECTORS: tuple[Detector, ...] = (*WORDING, *LIKELIHOOD, *DYNAMICS)
"""All that need no more than rows and a model; `make_generator_ranks` and `make_judge` give others."""


def measure(
    rows: Sequence[Row],
    marked: Collection[int],
    model: LanguageModel | None,
    *,
    detectors: Sequence[Detector] = DETECTORS,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """For each detector its `Ranking` of the rows with the figures that follow from it, and the seconds it took.

    `marked` are the indices of the marked rows; without a model the detectors that read one are left out. The first of
    several detectors that read the same pays for all.
    """
    results = {}
    for detector in detectors:
        if detector.reads_model and model is None:
            continue
        began_s = time.process_time()
        scores = detector.suspicion(rows, model)
        results[detector.name] = rank_marks(scores, marked, seed=seed).as_json() | {
            "cpu_s": round(time.process_time() - began_s, 2)
        }
    return results
