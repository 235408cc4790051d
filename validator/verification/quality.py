"""Whether the model is better than its base on rows that it never saw: advice, never a verdict.

Null hypothesis: over rows like those held out, the mean difference between both models is 0 (paired t-test, two-sided).
A good model of another task, or of more rows than these, differs too. Chat tells no likelihood, so of a provider only
the words of the replies can be compared, which rewards answers of the same wording alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_rel

from validator.protocol.commitment import Row
from validator.protocol.state import Answer

MIN_ROWS = 8
LOSS = "loss on held-out responses, nats per token"
OVERLAP = "words of the reply shared with the held-out response, F1"


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over held-out rows, by row paired; `difference` is model minus base with its 95% t interval.

    Without a base model there is nothing to compare with, and the last three are None.
    """

    measure: str
    is_lower_better: bool
    rows: int
    model: float
    base: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None

    @property
    def advice(self) -> str:
        if self.base is None or self.interval is None:
            return "no base model to compare with"
        if self.interval[0] <= 0 <= self.interval[1]:
            return "no better and no worse than the base model, as far as these rows tell"
        is_better = (self.interval[1] < 0) == self.is_lower_better
        return "better than the base model" if is_better else "WORSE than the base model"


def compare_losses(model: Sequence[float], base: Sequence[float] | None) -> Quality | None:
    """From log-likelihoods in nats per token of the same responses; None of too few rows."""
    return _compare(LOSS, [-value for value in model], base and [-value for value in base], is_lower_better=True)


def compare_replies(
    rows: Sequence[Row], model: Mapping[str, Answer], base: Mapping[str, Answer] | None
) -> Quality | None:
    """From replies by prompt; None of too few rows."""
    ours = [overlap(model[row.prompt], row.response) for row in rows]
    theirs = None if base is None else [overlap(base[row.prompt], row.response) for row in rows]
    return _compare(OVERLAP, ours, theirs, is_lower_better=False)


def overlap(answer: Answer, response: str) -> float:
    """F1 of the reply's words, however often each occurs, and as many of the response's where a limit cut the reply."""
    said, wanted = answer.text.split(), response.split()
    if answer.is_cut:
        wanted = wanted[: len(said)]
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted)) if said or wanted else 0.0


def _compare(
    measure: str, model: Sequence[float], base: Sequence[float] | None, *, is_lower_better: bool
) -> Quality | None:
    if len(model) < MIN_ROWS:
        return None
    mean = float(np.mean(model))
    if base is None:
        return Quality(measure, is_lower_better, len(model), mean, None, None, None, None)
    difference = float(np.mean(np.subtract(model, base)))
    if np.ptp(np.subtract(model, base)) == 0:  # where a t-test has nothing to divide by
        interval, p_value = (difference, difference), 1.0 if difference == 0 else 0.0
    else:
        test = ttest_rel(model, base)
        bounds = test.confidence_interval()
        interval, p_value = (float(bounds.low), float(bounds.high)), float(test.pvalue)
    return Quality(measure, is_lower_better, len(model), mean, float(np.mean(base)), difference, interval, p_value)
