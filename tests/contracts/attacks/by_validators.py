"""Validators that lie about evidence: the miner has trained, unless a script says otherwise, and hits every mark."""

from dataclasses import replace

from contracts import TaskState
from tests.contracts.attacks.amounts import REWARD
from tests.contracts.attacks.registry import attack
from tests.contracts.attacks.residuals import CENSORSHIP
from tests.contracts.attacks.stage import Stage
from tests.contracts.evm import PyRevm
from tests.contracts.market import Market
from tests.contracts.rounds import EVIDENCE, MINER, NO_HASH, VALIDATOR, Round
from validator.protocol.commitment import RowHashes, keccak

PAID, REFUNDED = TaskState.PAID, TaskState.REFUNDED
MINER_LAPSED, VALIDATOR_LAPSED = TaskState.MINER_LAPSED, TaskState.VALIDATOR_LAPSED
OPEN_LAPSED = DECLINED = TaskState.OPEN_LAPSED


@attack("V1", "validator", refused="signature: another signer", ends=PAID, honest=PAID)
def forges_the_replies(stage: Stage) -> Round:
    """The validator turns signed hits into misses."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=16, replies=round_.replies(0), proofs=round_.proofs)
    return stage.pay(round_)


@attack("V1", "validator", refused="settle: commitment does not open", ends=PAID, honest=PAID)
def edits_a_head(stage: Stage) -> Round:
    """The validator edits the head of a mark, so that its reply misses."""
    round_ = stage.submitted()
    edited = replace(round_.marks[0], head_hash=keccak(b"edited"))
    with stage.refused():
        rows = sorted([edited, *round_.marks[1:]], key=lambda row: row.leaf)
        stage.settle(round_, hits=16, rows=rows)
    return stage.pay(round_)


@attack("V1", "validator", refused="settle: commitment does not open", ends=PAID, honest=PAID)
def edits_the_salt(stage: Stage) -> Round:
    """The validator opens its commitment with another salt."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=16, salt=keccak(b"edited"))
    return stage.pay(round_)


@attack("V4", "validator", refused="settle: leaves not ascending", ends=PAID, honest=PAID)
def swaps_two_marks(stage: Stage) -> Round:
    """The validator swaps two marks, so that each is compared with the other's reply."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=16, rows=[round_.marks[1], round_.marks[0], *round_.marks[2:]])
    return stage.pay(round_)


@attack("V4", "validator", refused="settle: not n rows", ends=PAID, honest=PAID)
def drops_probes_that_hit(stage: Stage) -> Round:
    """The validator leaves out probes that hit."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=16, rows=round_.marks[1:], replies=round_.replies(16)[1:])
    return stage.pay(round_)


@attack("V4", "validator", refused="settle: leaves not ascending", ends=PAID, honest=PAID)
def doubles_a_probe_that_missed(stage: Stage) -> Round:
    """The validator counts one probe that missed twice, in place of one that hit."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=15, rows=[*round_.marks[1:], round_.marks[-1]], replies=[NO_HASH] * 16)
    stage.settle(round_, hits=15)
    return round_


@attack("V4 V7", "validator", refused="settle: commitment does not open", ends=PAID, honest=PAID)
def chooses_the_rows_after_the_replies(stage: Stage) -> Round:
    """The validator puts a row that missed, chosen after the replies, in the place of a mark that hit."""
    round_ = stage.submitted()
    rows = sorted([*round_.marks[1:], round_.contradiction], key=lambda row: row.leaf)
    with stage.refused():
        stage.settle(round_, hits=16, rows=rows)
    return stage.pay(round_)


@attack(
    "V2",
    "validator payer",
    refused="settle: row not in the dataset",
    ends=VALIDATOR_LAPSED,
    honest=PAID,
    is_answered=True,
)
def asks_for_rows_never_sent(stage: Stage) -> Round:
    """The validator commits to rows that it never sent; the miner signs no such thing and answers misses."""
    never_sent = [RowHashes(*(keccak(bytes([i, j])) for j in range(3))) for i in range(16)]
    round_ = stage.lead(stage.over_marks(never_sent))
    stage.challenge(round_)
    stage.answer(round_, hits=0)
    with stage.refused():
        stage.settle(round_, hits=0, proofs=[round_.tree.proof(round_.contradiction.leaf)] * 16)
    return stage.lapse(round_)


@attack("V2", "validator", refused="settle: rows not proved", ends=VALIDATOR_LAPSED, honest=PAID, is_answered=True)
def leaves_the_proofs_out(stage: Stage) -> Round:
    """The validator asks for rows never sent and settles a refund without any proof."""
    never_sent = [RowHashes(*(keccak(bytes([i, j])) for j in range(3))) for i in range(16)]
    round_ = stage.lead(stage.over_marks(never_sent))
    stage.challenge(round_)
    stage.answer(round_, hits=0)
    with stage.refused():
        stage.settle(round_, hits=0, proofs=[])
    return stage.lapse(round_)


@attack("V3", "validator", refused="accept: another dataset", ends=OPEN_LAPSED, honest=DECLINED)
def sends_one_dataset_and_roots_another(stage: Stage) -> Round:
    """The validator roots another dataset than the one that it sends; the miner's receipt for what came is refused."""
    round_, sent = stage.make_round(), stage.make_round(k=41)
    stage.open(round_)
    with stage.refused():
        stage.on_task(MINER.address, "accept", round_, sent.tree.root)
    return stage.lapse(round_)


@attack("V5", "validator", ends=PAID, honest=PAID, is_answered=True)
def hides_a_good_transcript(stage: Stage) -> Round:
    """The validator claims that no transcript came, and challenges a miner that has signed one."""
    round_ = stage.challenged()
    stage.answer(round_, hits=16)
    return stage.pay(round_)


@attack("V5 V1", "validator", refused="settle: signature not empty", ends=PAID, honest=PAID, is_answered=True)
def settles_by_an_older_transcript(stage: Stage) -> Round:
    """The validator keeps a worse transcript back and brings it after the miner has answered."""
    round_ = stage.challenged()
    stage.answer(round_, hits=16)
    with stage.refused():
        worse = stage.sign(EVIDENCE, round_.transcript(round_.replies(0)))
        stage.settle(round_, hits=0, signature=worse)
    return stage.pay(round_)


@attack("V1", "validator", refused="settle: not the answered replies", ends=PAID, honest=PAID, is_answered=True)
def edits_the_answer(stage: Stage) -> Round:
    """The validator settles an answered task with other replies than the miner's."""
    round_ = stage.challenged()
    stage.answer(round_, hits=16)
    with stage.refused():
        stage.settle(round_, hits=0)
    return stage.pay(round_)


@attack(
    "V4 V5",
    "validator payer",
    refused="settle: not the answered replies",
    ends=VALIDATOR_LAPSED,
    honest=PAID,
    is_answered=True,
)
def challenges_other_leaves(stage: Stage) -> Round:
    """The validator challenges other leaves than it committed to, to get misses for them."""
    round_ = stage.submitted()
    others = sorted([*round_.leaves[1:], round_.contradiction.leaf])
    stage.on_task(VALIDATOR.address, "challenge", round_, others)
    stage.answer(round_, hits=0)
    with stage.refused():
        stage.settle(round_, hits=0)
    return stage.lapse(round_)


@attack("V5 W10", "validator", ends=PAID, honest=PAID, is_answered=True)
def burns_time_with_a_good_challenge(stage: Stage) -> Round:
    """The validator challenges and settles in the last second, to keep the miner's stake locked."""
    round_ = stage.submitted()
    stage.last_second(round_)
    stage.challenge(round_)
    stage.answer(round_, hits=16)
    stage.last_second(round_)
    return stage.pay(round_)


@attack("V5 V8 C9", "validator payer", refused="task: deadline passed", ends=VALIDATOR_LAPSED, honest=PAID)
def challenges_too_late(stage: Stage) -> Round:
    """The validator challenges after its time."""
    round_ = stage.submitted()
    stage.expire(round_)
    with stage.refused():
        stage.challenge(round_)
    return stage.lapse(round_)


@attack("V11", "validator", refused=("task: not in this state", "settle: not in this state"), ends=PAID, honest=PAID)
def asks_before_the_model_is_fixed(stage: Stage) -> Round:
    """The validator challenges or settles before the miner has fixed its model."""
    round_ = stage.reach(TaskState.ACCEPTED)
    with stage.refused():
        stage.challenge(round_)
    with stage.refused():
        stage.settle(round_, hits=0)
    stage.submit(round_)
    return stage.pay(round_)


@attack("V8 E8", "validator payer", ends=VALIDATOR_LAPSED, honest=PAID)
def never_settles(stage: Stage) -> Round:
    """The validator vanishes when it sees that the miner must be paid."""
    return stage.lapse(stage.submitted())


@attack("V8 E8", "validator payer", ends=VALIDATOR_LAPSED, honest=PAID, is_answered=True)
def never_settles_after_an_answer(stage: Stage) -> Round:
    """The validator vanishes after the miner has answered its challenge."""
    return stage.lapse(stage.reach(TaskState.ANSWERED))


@attack("V8 C9", "validator payer", refused="settle: deadline passed", ends=VALIDATOR_LAPSED, honest=PAID)
def settles_too_late(stage: Stage) -> Round:
    """The validator settles after its time, before anybody has ended the task."""
    round_ = stage.submitted()
    stage.expire(round_)
    with stage.refused():
        stage.settle(round_, hits=16)
    return stage.lapse(round_)


@attack("V4 E13", "validator", refused="settle: not in this state", ends=PAID, honest=PAID)
def settles_twice(stage: Stage) -> Round:
    """The validator settles a paid task again with a transcript of misses."""
    round_ = stage.pay(stage.submitted())
    with stage.refused():
        stage.settle(round_, hits=0)
    return round_


@attack("V10", "validator", refused="open_task: commitment used", ends=PAID, honest=PAID)
def uses_a_commitment_again(stage: Stage) -> Round:
    """The validator opens a second task under a commitment whose marks are public."""
    round_ = stage.pay(stage.submitted())
    with stage.refused():
        stage.open(stage.make_round(commitment=round_.terms.commitment))
    return round_


@attack("C5", "validator payer", refused="settle: commitment does not open", ends=VALIDATOR_LAPSED, honest=PAID)
def commits_for_another_miner(stage: Stage) -> Round:
    """The validator uses a commitment that it made for another miner."""
    round_ = stage.lead(stage.recommit(stage.make_round(), miner=EVIDENCE.address))
    with stage.refused():
        stage.settle(round_, hits=16)
    return stage.lapse(round_)


@attack("C5 C7", "validator payer", refused="settle: commitment does not open", ends=VALIDATOR_LAPSED, honest=PAID)
def commits_for_an_older_epoch(stage: Stage) -> Round:
    """The validator uses a commitment that it made for the miner's registration before."""
    older = stage.make_round().terms.miner_epoch
    stage.call(MINER.address, "register", EVIDENCE.address, "https://miner.example", NO_HASH)
    round_ = stage.lead(stage.recommit(stage.make_round(), miner_epoch=older))
    with stage.refused():
        stage.settle(round_, hits=16)
    return stage.lapse(round_)


@attack("V1 V10", "validator", refused="signature: another signer", ends=(REFUNDED, PAID), honest=(REFUNDED, PAID))
def replays_the_transcript_of_another_task(stage: Stage) -> tuple[Round, Round]:
    """The validator slashes a miner by the transcript of an earlier task over the same rows, in which it failed."""
    earlier = stage.submitted(slashing=False)
    stage.settle(earlier, hits=0)
    round_ = stage.lead(stage.over_same_data(earlier))
    with stage.refused():
        old = stage.sign(EVIDENCE, earlier.transcript(earlier.replies(0)))
        stage.settle(round_, hits=0, signature=old)
    return earlier, stage.pay(round_)


@attack("V1 W4", "validator", refused="signature: another signer", ends=PAID, honest=PAID)
def replays_the_transcript_of_another_model(stage: Stage) -> Round:
    """The validator settles by what the miner signed about a model that it did not submit."""
    round_ = stage.submitted()
    other = round_.transcript(round_.replies(0), model_hash=keccak(b"another model"))
    with stage.refused():
        stage.settle(round_, hits=0, signature=stage.sign(EVIDENCE, other))
    return stage.pay(round_)


@attack("C10 V1", "validator", refused="signature: another signer", ends=PAID, honest=PAID)
def replays_the_transcript_of_another_chain(stage: Stage) -> Round:
    """The validator settles by what the miner signed on a chain that has split off."""
    round_ = stage.submitted()
    fork = Market(PyRevm(stage.chain.chain_id + 1))
    assert fork.address == stage.address
    with stage.refused():
        stage.settle(round_, hits=0, signature=fork.sign(EVIDENCE, round_.transcript(round_.replies(0))))
    return stage.pay(round_)


@attack(
    "V5 C9",
    "validator payer",
    ends=MINER_LAPSED,
    honest=PAID,
    residual=CENSORSHIP,
    bound=REWARD,
)
def challenges_a_censored_miner(stage: Stage) -> Round:
    """The validator challenges a miner whose answer it can keep off the chain, or the chain halts that long."""
    return stage.lapse(stage.challenged())
