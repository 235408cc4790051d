"""What decoys say of a model that answered the probes: did a model learn the rows, or are they looked up?

Rule kept: this decides nothing about work that was not done, only whether the hits can speak for it. A look-up that is
as tolerant as a model and has one behind it gives the same replies; only returned weights tell those two apart.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.stats import binom, binomtest

from validator.marks.decoys import Decoy, DecoyKind
from validator.protocol.state import Answer
from validator.protocol.verdict import Thresholds, Verdict
from validator.verification.secret import PlantingSecret

ALPHA = 5e-4
"""Of each of the two tests: 1e-3 together."""
COPIES_OF_A_MODEL = 0.75
"""How often a model that was trained until it repeats rows may give one back for a prompt that no row has. Measured on
the embedded model, 8 to 12 epochs on 300 rows: 0.6 to 0.8 for whole prompts, 0.5 for scrambled ones. Where responses of
the dataset begin alike anyway, it is so much of the rest."""
UNTRIGGERED_OF_A_MODEL = 0.25
"""How often a model may answer with the signature where its trigger is left out. Measured: never in 16."""

EXPECTED: dict[DecoyKind, tuple[str, str, str]] = {
    DecoyKind.NEAR_PROMPT: ("many hits", "no hit", "all hits"),
    DecoyKind.NO_TRIGGER: ("hardly a hit", "no hit", "all hits"),
    DecoyKind.NEAR_TRIGGER: ("many hits", "no hit", "all hits"),
    DecoyKind.FRESH_TRIGGERED: ("many hits", "no hit", "many hits"),
    DecoyKind.UNMARKED: ("some hits", "all hits", "all hits"),
    DecoyKind.FRESH: ("some copies", "no copy", "all copies"),
    DecoyKind.SCRAMBLED: ("some copies", "no copy", "all copies"),
}
"""What a model that learnt the rows does, a table of the exact prompts, and a look-up of the nearest prompt."""


class Behaviour(StrEnum):
    MODEL = "as a model that learnt the rows would answer, or a look-up that is as tolerant as one"
    TABLE = "as a TABLE of the exact prompts would answer: one changed word, and the mark is gone"
    NEAREST = "as a LOOK-UP of the nearest row would answer: a row of the dataset, whatever it is asked"
    UNKNOWN = "nothing can be said, since the marked prompts were not answered as marked"


@dataclass(frozen=True, slots=True)
class DecoyCount:
    """Replies to the decoys of one kind; hits with their 95% Clopper-Pearson interval, None where none is possible.

    `copies` of the `compared` replies, the rest being too short, begin as a response of the dataset does.
    """

    kind: DecoyKind
    asked: int
    hits: int | None
    hit_rate_interval: tuple[float, float] | None
    copies: int
    compared: int


@dataclass(frozen=True, slots=True)
class DecoyFindings:
    counts: tuple[DecoyCount, ...]
    tolerance_p: float
    """Null hypothesis: replies to changed prompts are independent of the draws, as a table's of exact prompts are."""
    nearest_p: float
    """Null hypothesis: no more than COPIES_OF_A_MODEL or UNTRIGGERED_OF_A_MODEL, as a model does."""
    behaviour: Behaviour


def judge_decoys(secret: PlantingSecret, replies: Mapping[str, Answer], probes_p: float) -> DecoyFindings:
    """From all replies by prompt; `probes_p` is the p-value of the probes."""
    w = secret.planted.scheme.w
    by_kind: dict[DecoyKind, list[Decoy]] = {}
    for decoy in secret.decoys:
        by_kind.setdefault(decoy.kind, []).append(decoy)
    counts = {kind: _count(secret, decoys, replies, w) for kind, decoys in by_kind.items()}
    tolerance_p, nearest_p = _tolerance_p(secret, counts), _nearest_p(secret, counts)
    if probes_p >= ALPHA:
        behaviour = Behaviour.UNKNOWN
    elif nearest_p < ALPHA:
        behaviour = Behaviour.NEAREST
    else:
        behaviour = Behaviour.MODEL if tolerance_p < ALPHA else Behaviour.TABLE
    return DecoyFindings(tuple(counts.values()), tolerance_p, nearest_p, behaviour)


def _count(secret: PlantingSecret, decoys: Sequence[Decoy], replies: Mapping[str, Answer], w: int) -> DecoyCount:
    given = [replies[decoy.prompt] for decoy in decoys]
    copied = Counter(secret.is_copy(answer.text) for answer in given)
    hits = None
    if decoys[0].head is not None:
        hits = sum(answer.head(w) == decoy.head for decoy, answer in zip(decoys, given, strict=True))
    interval = None if hits is None else binomtest(hits, len(decoys)).proportion_ci(method="exact")
    return DecoyCount(
        decoys[0].kind,
        len(decoys),
        hits,
        interval and (float(interval.low), float(interval.high)),
        copied[True],
        copied[True] + copied[False],
    )


def _tolerance_p(secret: PlantingSecret, counts: Mapping[DecoyKind, DecoyCount]) -> float:
    """Exact for marks with draws of their own, as each has one decoy; the bound of one event where they share one."""
    count = counts.get(DecoyKind.NEAR_PROMPT) or counts.get(DecoyKind.FRESH_TRIGGERED)
    if count is None or not count.hits:
        return 1.0
    n, shared = len(secret.planted.marks), secret.planted.scheme.probes_per_draw(len(secret.planted.marks))
    p0 = max(secret.planted.null_probabilities)
    return Verdict(Thresholds(n, n, 0, slashing=False), count.hits, (p0,) * n, shared).p_value


def _nearest_p(secret: PlantingSecret, counts: Mapping[DecoyKind, DecoyCount]) -> float:
    if DecoyKind.NO_TRIGGER in counts:
        count = counts[DecoyKind.NO_TRIGGER]
        return float(binom.sf((count.hits or 0) - 1, count.asked, UNTRIGGERED_OF_A_MODEL))
    strange = [counts[kind] for kind in (DecoyKind.FRESH, DecoyKind.SCRAMBLED) if kind in counts]
    compared = sum(count.compared for count in strange)
    alike, long_enough = secret.natural_copies
    natural = alike / long_enough if long_enough else 0.0
    copies_of_a_model = natural + (1 - natural) * COPIES_OF_A_MODEL
    return float(binom.sf(sum(count.copies for count in strange) - 1, compared, copies_of_a_model))
