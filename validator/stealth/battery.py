"""The whole battery over one marked dataset, as numbers that a campaign can keep."""

import time
from collections.abc import Collection, Sequence
from typing import Any

from validator.marks.planting import find_markable
from validator.marks.schemes import Scheme
from validator.protocol.commitment import Row
from validator.stealth.detector import Detector, LanguageModel
from validator.stealth.dynamics import DYNAMICS
from validator.stealth.likelihood import LIKELIHOOD
from validator.stealth.metrics import rank_marks
from validator.stealth.wording import WORDING

DETECTORS: tuple[Detector, ...] = (*WORDING, *LIKELIHOOD, *DYNAMICS)
"""All that need no more than rows and a model. Others: `make_markable`, `make_opening_ranks`, `make_word_ranks`,
`make_imitation`, `make_judge`."""
ROW_BY_ROW: tuple[Detector, ...] = tuple(
    detector
    for detector in DETECTORS
    if not detector.name.endswith(("adapted", "epoch", "gradient")) and "ONION" not in detector.name
)
"""Those that neither train nor read a row many times: `make_imitation` reads the dataset twice with each."""


def make_markable(scheme: Scheme) -> Detector:
    """Which rows the scheme's public rules leave: it finds no mark, but shows where all of them are."""

    def suspicion(rows: Sequence[Row], _model: LanguageModel | None) -> list[float]:
        markable = set(find_markable(rows, scheme))
        return [float(index in markable) for index in range(len(rows))]

    return Detector("rows that may be marked", suspicion)


def measure(
    rows: Sequence[Row],
    marked: Collection[int],
    model: LanguageModel | None,
    *,
    detectors: Sequence[Detector] = DETECTORS,
    among: Collection[int] = (),
    seed: int,
) -> dict[str, dict[str, Any]]:
    """For each detector its `Ranking` of all rows as JSON, and the processor seconds that it took.

    `marked` are the indices of the marked rows. `among` are those that may be marked: where they are given, "among" is
    the ranking of these alone, which is what an attacker who knows the rules is left with. Without a model the
    detectors that read one are left out. The first of several detectors that read the same pays for all of them.
    """
    eligible = sorted({*among, *marked}) if among else []
    results = {}
    for detector in detectors:
        if detector.reads_model and model is None:
            continue
        began_s = time.process_time()
        scores = detector.suspicion(rows, model)
        cell = rank_marks(scores, marked, seed=seed).as_json() | {"cpu_s": round(time.process_time() - began_s, 2)}
        if eligible:
            chosen = [number for number, index in enumerate(eligible) if index in set(marked)]
            cell["among"] = rank_marks([scores[index] for index in eligible], chosen, seed=seed).as_json()
        results[detector.name] = cell
    return results
