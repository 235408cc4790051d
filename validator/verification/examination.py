"""One verification: all questions in one deck, asked once of the model and once of its base; what is judged of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from validator.coverage.reference import Reference
from validator.coverage.result import CoverageResult, judge_coverage
from validator.marks.secrets import derive_stream
from validator.plan.terms import choose_thresholds
from validator.protocol.commitment import Row, split_head
from validator.protocol.state import Answer
from validator.protocol.verdict import Verdict, Zone
from validator.verification.asking import Answers, Questions, Respondent
from validator.verification.covert import Battery, CovertScreen, make_battery, screen
from validator.verification.lookup import Behaviour, DecoyFindings, judge_decoys
from validator.verification.quality import Quality, compare_losses, compare_replies
from validator.verification.secret import PlantingSecret

COVERAGE_LOG10_P = -6.0
"""Where coverage is measured, a model that is independent of the draws passes at most once in a million times by it."""


@dataclass(frozen=True)
class Findings:
    """What was found out; None is what was not asked, or could not be told."""

    probes: Verdict
    base_probes: Verdict | None
    """The null hypothesis measured: the same probes to the base model."""
    coverage: CoverageResult | None
    decoys: DecoyFindings | None
    """Of a provider only."""
    quality: Quality | None
    covert: CovertScreen | None

    @property
    def has_passed(self) -> bool | None:
        """None where the hits are there and decoys say that they speak for a look-up."""
        if self.probes.zone is not Zone.PAID:
            return False
        if self.coverage is not None and self.coverage.log10_p > COVERAGE_LOG10_P:
            return False
        looks_up = self.decoys is not None and self.decoys.behaviour in (Behaviour.TABLE, Behaviour.NEAREST)
        return None if looks_up else True


@dataclass(frozen=True)
class Deck:
    """All that is asked. Only the probes where `is_short`."""

    secret: PlantingSecret
    battery: Battery
    is_short: bool

    def questions(self, *, of_weights: bool) -> Questions:
        """Every prompt once, in an order that only the secret tells; likelihoods where weights are there."""
        secret = self.secret
        prompts = [mark.row.prompt for mark in secret.planted.marks]
        texts: list[Row] = []
        if not self.is_short:
            # Weights cannot look anything up.
            prompts += [] if of_weights else [decoy.prompt for decoy in secret.decoys]
            prompts += [row.prompt for row in (*secret.held_out, *self.battery.rows)]
            texts += [*secret.held_out, *self.battery.rows]
        unique = list(dict.fromkeys(prompts))
        return Questions(
            prompts=tuple(derive_stream(secret.seed, "order").sample(unique, len(unique))),
            max_tokens=secret.planted.scheme.max_tokens,
            texts=tuple(texts) if of_weights else (),
            covered=secret.covered if of_weights else (),
        )


def make_deck(secret: PlantingSecret, *, is_short: bool = False) -> Deck:
    return Deck(secret, make_battery(secret), is_short)


async def examine(
    deck: Deck,
    model: Respondent,
    base: Respondent | None,
    *,
    of_weights: bool,
    reference: Reference | None = None,
) -> Findings:
    """Ask and judge; errors are those of the respondents. `reference` is for the trained share."""
    questions, secret = deck.questions(of_weights=of_weights), deck.secret
    answers = await model.answer(questions)
    base_answers = None if base is None else await base.answer(questions)
    replies = dict(zip(questions.prompts, answers.replies, strict=True))
    base_replies = None if base_answers is None else dict(zip(questions.prompts, base_answers.replies, strict=True))
    probes = _judge_probes(secret, replies)
    base_probes = None if base_replies is None else _judge_probes(secret, base_replies)
    coverage = _judge_coverage(secret, answers, base_answers, reference)
    if deck.is_short:
        return Findings(probes, base_probes, coverage, None, None, None)
    likelihoods, base_likelihoods = _by_text(questions, answers), _by_text(questions, base_answers)
    return Findings(
        probes,
        base_probes,
        coverage,
        None if of_weights else judge_decoys(secret, replies, probes.p_value),
        _judge_quality(secret.held_out, replies, base_replies, likelihoods, base_likelihoods),
        screen(secret, deck.battery, replies, base_replies, likelihoods, base_likelihoods),
    )


def _judge_probes(secret: PlantingSecret, replies: Mapping[str, Answer]) -> Verdict:
    planted = secret.planted
    n = len(planted.marks)
    w = planted.scheme.w
    hits = sum(replies[mark.row.prompt].head(w) == split_head(mark.row.response, w)[0] for mark in planted.marks)
    thresholds = choose_thresholds(n, slashing=False)
    return Verdict(thresholds, hits, planted.null_probabilities, planted.scheme.probes_per_draw(n))


def _judge_coverage(
    secret: PlantingSecret, answers: Answers, base: Answers | None, reference: Reference | None
) -> CoverageResult | None:
    """The commitment seeds the keys that break ties: it was fixed before the training."""
    if base is None or not answers.mark_scores or not base.mark_scores:
        return None
    changes = [
        None if after is None or before is None else tuple(a - b for a, b in zip(after, before, strict=True))
        for after, before in zip(answers.mark_scores, base.mark_scores, strict=True)
    ]
    marks = [mark for _row, mark in secret.covered]
    options, picks = [len(mark.candidates) for mark in marks], [mark.pick for mark in marks]
    seed = int.from_bytes(secret.commitment[:6])
    return judge_coverage(changes, options, picks, seed=seed, reference=reference)


def _by_text(questions: Questions, answers: Answers | None) -> dict[Row, float] | None:
    if answers is None or answers.log_likelihoods is None:
        return None
    return dict(zip(questions.texts, answers.log_likelihoods, strict=True))


def _judge_quality(
    held_out: Sequence[Row],
    replies: Mapping[str, Answer],
    base_replies: Mapping[str, Answer] | None,
    likelihoods: Mapping[Row, float] | None,
    base_likelihoods: Mapping[Row, float] | None,
) -> Quality | None:
    if likelihoods is None:
        return compare_replies(held_out, replies, base_replies)
    base = None if base_likelihoods is None else [base_likelihoods[row] for row in held_out]
    return compare_losses([likelihoods[row] for row in held_out], base)
