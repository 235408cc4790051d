"""Miners that lie about their work: none has trained, unless a script says so; an honest one would have declined."""

from dataclasses import replace

from contracts import TaskState
from tests.contracts.attacks.amounts import ANSWER_FEE, REWARD
from tests.contracts.attacks.registry import attack
from tests.contracts.attacks.residuals import ANSWER_FEE_IS_INCOME, DELIVERY, LOOK_UP, OUTAGE, SHARED_MARKS
from tests.contracts.attacks.stage import JUDGED, Stage
from tests.contracts.rounds import (
    COMMITTEE,
    EVIDENCE,
    MINER,
    NO_HASH,
    OUTSIDER,
    Round,
)
from validator.protocol.commitment import RowHashes, keccak

PAID, REFUNDED, SLASHED = TaskState.PAID, TaskState.REFUNDED, TaskState.SLASHED
MINER_LAPSED, VALIDATOR_LAPSED = TaskState.MINER_LAPSED, TaskState.VALIDATOR_LAPSED
OPEN_LAPSED = DECLINED = TaskState.OPEN_LAPSED


# --- evidence: what is signed, answered, submitted --------------------------------------------------------------------


@attack("W1", "miner", ends=SLASHED, honest=DECLINED)
def returns_the_base_model(stage: Stage) -> Round:
    """The miner submits the base model and signs what it replies."""
    return stage.slash(stage.submitted())


@attack("W1", "miner", ends=REFUNDED, honest=DECLINED)
def trains_on_too_little(stage: Stage) -> Round:
    """The miner trains on a part of the data and misses k_pay by one."""
    round_ = stage.submitted()
    stage.settle(round_, hits=round_.terms.k_pay - 1)
    return round_


@attack("W2", "miner", ends=MINER_LAPSED, honest=DECLINED)
def never_submits(stage: Stage) -> Round:
    """The miner accepts and never submits."""
    return stage.lapse(stage.reach(TaskState.ACCEPTED))


@attack("W2", "miner", ends=MINER_LAPSED, honest=DECLINED)
def grades_itself_and_stays_silent(stage: Stage) -> Round:
    """The miner sees that it has failed, signs nothing and does not answer the challenge."""
    return stage.lapse(stage.challenged())


@attack("W2", "miner", ends=SLASHED, honest=DECLINED, is_answered=True)
def refuses_to_sign_and_answers_the_truth(stage: Stage) -> Round:
    """The miner refuses to sign and then answers that it misses."""
    round_ = stage.challenged()
    stage.answer(round_, hits=0)
    return stage.slash(round_)


@attack(
    "W2",
    "miner",
    ends=PAID,
    honest=PAID,
    is_answered=True,
    residual=ANSWER_FEE_IS_INCOME,
    bound=ANSWER_FEE,
)
def sells_its_answer(stage: Stage) -> Round:
    """The miner has trained, but refuses to sign so that it is paid for an answer on chain."""
    round_ = stage.challenged()
    stage.answer(round_, hits=16)
    return stage.pay(round_)


@attack(
    "W2 W8", "miner", ends=REFUNDED, honest=DECLINED, is_answered=True, residual=ANSWER_FEE_IS_INCOME, bound=ANSWER_FEE
)
def earns_the_answer_fee_with_a_few_hits(stage: Stage) -> Round:
    """The miner has not trained, refuses to sign, and answers with just enough looked-up hits not to be slashed."""
    round_ = stage.challenged()
    stage.answer(round_, hits=round_.terms.k_slash + 1)
    stage.settle(round_, hits=round_.terms.k_slash + 1)
    return round_


@attack("W3", "miner", ends=SLASHED, honest=DECLINED)
def signs_garbage(stage: Stage) -> Round:
    """The miner signs replies that are no hashes of anything."""
    round_ = stage.submitted()
    replies = [keccak(bytes([i])) for i in range(16)]
    stage.settle(round_, hits=0, replies=replies, signature=stage.sign(EVIDENCE, round_.transcript(replies)))
    return stage.lapse(round_)


@attack("W3 W11", "miner validator", refused="settle: rows not proved", ends=VALIDATOR_LAPSED, honest=DECLINED)
def passes_no_reply_off_as_a_hit(stage: Stage) -> Round:
    """The miner and the validator settle zero replies as hits of rows whose head hash is zero."""
    round_ = stage.lead(stage.over_marks([RowHashes(keccak(bytes([i])), NO_HASH, NO_HASH) for i in range(16)]))
    with stage.refused():
        stage.settle(round_, hits=16, proofs=[])
    return stage.lapse(round_)


@attack("W4", "miner", refused="task: not in this state", ends=SLASHED, honest=DECLINED)
def swaps_the_model_after_the_probes(stage: Stage) -> Round:
    """The miner submits another model when it has seen the probes."""
    round_ = stage.submitted()
    with stage.refused():
        stage.on_task(MINER.address, "submit", round_, keccak(b"another model"))
    return stage.slash(round_)


@attack("W4", "miner", refused="signature: another signer", ends=MINER_LAPSED, honest=DECLINED)
def signs_about_another_model(stage: Stage) -> Round:
    """The miner signs hits of another model than it has submitted, and is silent when it is challenged."""
    round_ = stage.submitted()
    other = round_.transcript(round_.replies(16), model_hash=keccak(b"another model"))
    with stage.refused():
        stage.settle(round_, hits=16, signature=stage.sign(EVIDENCE, other))
    stage.challenge(round_)
    return stage.lapse(round_)


@attack("W5", "miner", refused="settle: not in this state", ends=SLASHED, honest=DECLINED)
def signs_two_transcripts(stage: Stage) -> Round:
    """The miner signs its misses, and afterwards hits that it has looked up."""
    round_ = stage.submitted()
    stage.settle(round_, hits=0)
    with stage.refused():
        stage.settle(round_, hits=16)
    return stage.lapse(round_)


@attack("W5", "miner", refused="task: not in this state", ends=SLASHED, honest=DECLINED, is_answered=True)
def answers_twice(stage: Stage) -> Round:
    """The miner answers with misses and afterwards with hits."""
    round_ = stage.challenged()
    stage.answer(round_, hits=0)
    with stage.refused():
        stage.answer(round_, hits=16)
    return stage.slash(round_)


@attack("W5 C4", "miner", refused="task: not in this state", ends=SLASHED, honest=DECLINED)
def answers_what_nobody_asked(stage: Stage) -> Round:
    """The miner answers without a challenge, and again when it sees the marks in the validator's settlement."""
    round_ = stage.submitted()
    with stage.refused():
        stage.answer(round_, hits=16)
    stage.settle(round_, hits=0)
    with stage.refused():
        stage.answer(round_, hits=16)
    return stage.lapse(round_)


@attack("W2 W4", "miner", refused="submit: no model hash", ends=MINER_LAPSED, honest=DECLINED)
def submits_no_hash(stage: Stage) -> Round:
    """The miner submits a zero hash, to fill the model in later."""
    round_ = stage.reach(TaskState.ACCEPTED)
    with stage.refused():
        stage.on_task(MINER.address, "submit", round_, NO_HASH)
    return stage.lapse(round_)


@attack("W10 C9", "miner", refused="task: deadline passed", ends=MINER_LAPSED, honest=DECLINED)
def submits_too_late(stage: Stage) -> Round:
    """The miner submits after its time, before anybody has ended the task."""
    round_ = stage.reach(TaskState.ACCEPTED)
    stage.expire(round_)
    with stage.refused():
        stage.submit(round_)
    return stage.lapse(round_)


@attack("W10 C9", "miner", refused="task: deadline passed", ends=MINER_LAPSED, honest=DECLINED)
def answers_too_late(stage: Stage) -> Round:
    """The miner answers after its time."""
    round_ = stage.challenged()
    stage.expire(round_)
    with stage.refused():
        stage.answer(round_, hits=16)
    return stage.lapse(round_)


@attack(
    "W10",
    "miner",
    ends=PAID,
    honest=PAID,
    is_answered=True,
    residual=ANSWER_FEE_IS_INCOME,
    bound=ANSWER_FEE,
)
def takes_its_time_everywhere(stage: Stage) -> Round:
    """The miner has trained, but acts in the last second of every deadline and refuses to sign."""
    round_ = stage.make_round()
    stage.open(round_)
    for step in (stage.accept, stage.submit):
        stage.last_second(round_)
        step(round_)
    stage.challenge(round_)
    stage.last_second(round_)
    stage.answer(round_, hits=16)
    return stage.pay(round_)


# --- verdicts ---------------------------------------------------------------------------------------------------------


@attack("V3 W3", "miner", refused="accept: another dataset", ends=OPEN_LAPSED, honest=DECLINED)
def accepts_another_dataset(stage: Stage) -> Round:
    """The miner gives its receipt for another dataset than it got."""
    round_ = stage.reach(TaskState.OPEN)
    with stage.refused():
        stage.on_task(MINER.address, "accept", round_, keccak(b"another dataset"))
    return stage.lapse(round_)


@attack("C6", "miner", refused="settle: only the validator", ends=SLASHED, honest=DECLINED)
def settles_in_the_validators_place(stage: Stage) -> Round:
    """The miner settles by itself with the marks that it saw in the mempool."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=16, sender=MINER.address)
    return stage.slash(round_)


@attack(
    "V6",
    "miner",
    refused=(
        "dispute: row is not a mark",
        "dispute: different prompts",
        "dispute: same head",
        "dispute: row not in the dataset",
    ),
    ends=SLASHED,
    honest=DECLINED,
)
def disputes_a_good_slash(stage: Stage) -> Round:
    """The miner disputes a good slash with rows that are no marks, no contradiction or not in the data."""
    round_ = stage.submitted()
    stage.settle(round_, hits=0)
    invented = replace(round_.contradiction, head_hash=keccak(b"invented"))
    for change in (
        {"mark": round_.contradiction},
        {"mark": round_.marks[1]},
        {"other": round_.marks[0], "proof": round_.tree.proof(round_.leaves[0])},
        {"other": invented},
    ):
        with stage.refused():
            stage.dispute(round_, sender=MINER.address, **change)
    return stage.lapse(round_)


@attack("W10 C9", "miner", refused="poke: too early", ends=SLASHED, honest=DECLINED)
def ends_the_task_before_the_validator_settles(stage: Stage) -> Round:
    """The miner ends a submitted task in the last second, to be paid from the validator's bond."""
    round_ = stage.submitted()
    stage.last_second(round_)
    with stage.refused():
        stage.poke(round_, sender=MINER.address)
    return stage.slash(round_)


@attack(
    "V8 C9 C11",
    "miner",
    ends=VALIDATOR_LAPSED,
    honest=DECLINED,
    residual=OUTAGE,
    bound=REWARD,
)
def is_paid_by_an_outage_of_the_validator(stage: Stage) -> Round:
    """The miner has done nothing, and the validator misses its deadline."""
    return stage.lapse(stage.submitted())


@attack(
    "W11",
    "miner",
    refused=(
        "judge: not a committee member",
        "judge: signers not ascending",
        "judge: hits under k_pay",
        "judge: coverage too low",
        "judge: another committee",
        "judge: no quorum",
    ),
    ends=REFUNDED,
    honest=DECLINED,
)
def forges_the_committee(stage: Stage) -> Round:
    """The miner has looked the replies up and brings outsiders, one member twice, bad verdicts or another committee."""
    round_ = stage.reach(TaskState.JUDGING)
    one, other, outsider = (stage.verdict(round_, key) for key in (*COMMITTEE[:2], MINER))
    for verdicts in (
        [outsider, one],
        [one, one],
        [one, stage.verdict(round_, COMMITTEE[1], hits=11)],
        [one, stage.verdict(round_, COMMITTEE[1], coverage_low_bps=6_999)],
    ):
        with stage.refused():
            stage.judge(round_, verdicts, sender=MINER.address)
    with stage.refused():
        stage.on_task(MINER.address, "judge", round_, [MINER.address, OUTSIDER.address], [one, other])
    with stage.refused():
        stage.judge(round_, [one], sender=MINER.address)
    return stage.lapse(round_)


# --- looking up -------------------------------------------------------------------------------------------------------


@attack("W8", "miner", ends=PAID, honest=DECLINED, residual=LOOK_UP, bound=REWARD)
def looks_the_replies_up(stage: Stage) -> Round:
    """The miner trains nothing and looks every probe up in the data."""
    return stage.pay(stage.submitted())


@attack("W8", "miner", ends=PAID, honest=DECLINED, is_answered=True, residual=LOOK_UP, bound=REWARD + ANSWER_FEE)
def looks_the_challenge_up(stage: Stage) -> Round:
    """The miner trains nothing, refuses to sign, and looks the challenged leaves up in the data."""
    round_ = stage.challenged()
    stage.answer(round_, hits=16)
    return stage.pay(round_)


@attack("W8", "miner", ends=REFUNDED, honest=DECLINED)
def looks_the_replies_up_where_weights_are_judged(stage: Stage) -> Round:
    """The miner looks every probe up, but the committee finds nothing in its weights and does not sign."""
    round_ = stage.submitted(**JUDGED)
    stage.settle(round_, hits=16)
    return stage.lapse(round_)


@attack(
    "W4 W8",
    "miner",
    ends=PAID,
    honest=DECLINED,
    residual=DELIVERY,
    bound=REWARD,
)
def is_paid_and_never_delivers(stage: Stage) -> Round:
    """The miner promises its weights, is paid on looked-up replies, and never delivers."""
    return stage.pay(stage.submitted(weights=1))


@attack(
    "W8 W9",
    "miner outsider",
    ends=(PAID, PAID),
    honest=(PAID, DECLINED),
    one_person={"outsider": "miner"},
    residual=SHARED_MARKS,
    bound=REWARD,
)
def learns_the_marks_as_another_miner(stage: Stage) -> tuple[Round, Round]:
    """One machine is two miners over one dataset: the first is probed, the second trains on just those rows."""
    stage.enter_as_miner(stake_wei=10**7)
    first = stage.reach(TaskState.OPEN)
    second = stage.recommit(stage.over_same_data(first, miner=OUTSIDER.address, miner_epoch=1))
    stage.open(second)
    stage.accept(second, sender=OUTSIDER.address)
    stage.accept(first)
    stage.submit(first)
    stage.pay(first)
    stage.submit(second, sender=OUTSIDER.address)
    return first, stage.pay(second)
