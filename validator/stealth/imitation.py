"""The detector that learns: it plants marks of its own in D_train and has a classifier tell them from the other rows.

Whoever has the program has the scheme and the generator; only the draw is secret. So what an attacker can learn from
marks that he drew himself holds for the validator's, whatever combination of the other detectors it takes.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from validator.marks.planting import find_markable
from validator.marks.sampler import WordScorer
from validator.marks.schemes import Scheme
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row
from validator.stealth.detector import Detector, LanguageModel

_PLANTED_SHARE = 0.25
"""Of the rows that may be marked: many more than the validator marks, so that there is something to learn from."""
_RIDGE = 1.0
_KEY = bytes(range(32))

Matrix = NDArray[np.float64]


def make_imitation(scheme: Scheme, scorer: WordScorer, detectors: Sequence[Detector]) -> Detector:
    """Logistic regression (with a ridge) on the ranks of the rows under `detectors`; rows are judged by the half of the
    data that they are not in.
    """

    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        markable = find_markable(rows, scheme)
        stream = DrawStream(_KEY)
        chosen = stream.sample(markable, max(1, round(_PLANTED_SHARE * len(markable))))
        imitated = list(rows)
        for mark in scheme.plant(rows, chosen, stream, scorer):
            imitated[mark.row_index] = mark.row
        mine, theirs = (_features(detectors, of, model) for of in (imitated, rows))
        planted = np.isin(np.arange(len(rows)), chosen)
        halves = np.zeros(len(rows), dtype=bool)
        halves[random.Random(0).sample(range(len(rows)), len(rows) // 2)] = True
        scores = np.zeros(len(rows))
        for half in (halves, ~halves):
            learnt_from = [index for index in markable if not half[index]]
            weights = _fit(mine[learnt_from], planted[learnt_from])
            scores[half] = theirs[half] @ weights[1:] + weights[0]
        return list(map(float, scores))

    reads_model = any(detector.reads_model for detector in detectors)
    return Detector("imitation: a classifier of marks of one's own", suspicion, reads_model)


def _features(detectors: Sequence[Detector], rows: Sequence[Row], model: LanguageModel | None) -> Matrix:
    """A column for each detector: the rows' ranks under it from -1 to 1, which no outlier can stretch."""
    columns = [np.asarray(detector.suspicion(rows, model)) for detector in detectors]
    return np.stack([_to_ranks(column) for column in columns], axis=1)


def _to_ranks(scores: Matrix) -> Matrix:
    ascending = np.sort(scores)
    middle = np.searchsorted(ascending, scores, "left") + np.searchsorted(ascending, scores, "right") - 1
    result: Matrix = middle / max(1, len(scores) - 1) - 1.0
    return result


def _fit(features: Matrix, labels: NDArray[np.bool_]) -> Matrix:
    """Intercept and weights of a logistic regression."""
    signs = np.where(labels, 1.0, -1.0)
    design = np.column_stack([np.ones(len(features)), features])

    def loss(weights: Matrix) -> tuple[float, Matrix]:
        margins = signs * (design @ weights)
        penalty = _RIDGE * np.concatenate([[0.0], weights[1:]])
        gradient = -(signs * expit(-margins)) @ design + penalty
        return float(np.logaddexp(0.0, -margins).sum() + 0.5 * penalty @ weights), gradient

    found: Matrix = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x
    return found
