"""Validators that lie before the miner works, by Orders, terms and rows: alone, or with the payer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contracts import TaskState
from tests.contracts.attacks.amounts import REWARD
from tests.contracts.attacks.registry import attack
from tests.contracts.attacks.residuals import SILENT_COMMITTEE, UNLEARNABLE
from tests.contracts.attacks.stage import JUDGED, Stage
from tests.contracts.evm import PyRevm
from tests.contracts.market import Market
from tests.contracts.rounds import (
    COMMITTEE,
    DATASET_SALT,
    EVIDENCE,
    MINER,
    NO_HASH,
    OUTSIDER,
    PAYER,
    VALIDATOR,
    Round,
    W,
)
from validator.protocol.commitment import MerkleTree, Row, hash_head, hash_row, keccak
from validator.protocol.wire import reply_head

PAID, REFUNDED, SLASHED, DISPUTED = TaskState.PAID, TaskState.REFUNDED, TaskState.SLASHED, TaskState.DISPUTED
VALIDATOR_LAPSED = TaskState.VALIDATOR_LAPSED
DECLINED = TaskState.OPEN_LAPSED


@attack(
    "V7",
    "validator payer",
    refused=("terms: n", "terms: k_pay", "terms: k_slash", "terms: max_tokens", "terms: duration too short"),
)
def sets_thresholds_that_nobody_passes(stage: Stage) -> tuple[Round, ...]:
    """The validator opens under thresholds, limits or durations out of bounds."""
    for change in (
        {"n": 15, "k_pay": 12},
        {"n": 65},
        {"k_pay": 17},
        {"k_pay": 10},
        {"k_slash": 3},
        {"k_slash": 2**256 - 1},
        {"max_tokens": 3},
        {"challenged_seconds": 399},
        {"dispute_seconds": 0},
    ):
        with stage.refused():
            stage.open(stage.make_round(k=80, **change))
    return ()


@attack("V7", "validator payer", refused="settle: not in this state", ends=PAID, honest=PAID)
def changes_the_thresholds_afterwards(stage: Stage) -> Round:
    """The validator settles under other thresholds than those that the miner accepted."""
    round_ = stage.submitted()
    for change in ({"k_pay": 16}, {"k_slash": 2}):
        with stage.refused():
            stage.settle(replace(round_, terms=replace(round_.terms, **change)), hits=15)
    stage.settle(round_, hits=15)
    return round_


@attack(
    "V7",
    "validator",
    refused=(
        "open_task: reward over the order",
        "open_task: fee over the order",
        "open_task: not the ordered spec",
        "open_task: n below the order",
        "open_task: k_pay below the order",
    ),
)
def exceeds_the_order(stage: Stage) -> tuple[Round, ...]:
    """The validator opens under worse terms than the Order allows."""
    round_ = stage.make_round()
    for change in ({"max_reward": 1}, {"max_fee": 1}, {"spec_hash": NO_HASH}, {"min_n": 17}, {"min_k_pay": 13}):
        with stage.refused():
            stage.open(round_, stage.order(round_, **change))
    return ()


@attack("V7 V10", "validator", refused="order: nonce used", ends=PAID, honest=PAID)
def uses_an_order_twice(stage: Stage) -> Round:
    """The validator takes the payer's money twice for one Order."""
    round_ = stage.make_round()
    order = stage.order(round_)
    stage.lead(round_)
    with stage.refused():
        stage.open(stage.make_round(), order)
    return stage.pay(round_)


@attack("V7", "validator", refused="order: nonce used")
def uses_a_cancelled_order(stage: Stage) -> tuple[Round, ...]:
    """The validator uses an Order that the payer has taken back."""
    round_ = stage.make_round()
    stage.call(PAYER.address, "cancel_order", stage.order(round_).nonce)
    with stage.refused():
        stage.open(round_)
    return ()


@attack("V7 C9", "validator", refused="open_task: order expired")
def uses_an_expired_order(stage: Stage) -> tuple[Round, ...]:
    """The validator uses an Order after its expiry."""
    round_ = stage.make_round()
    order = stage.order(round_)
    stage.chain.now = order.expiry + 1
    with stage.refused():
        stage.open(round_, order)
    return ()


@attack("V7 C5", "outsider", refused=("open_task: only the validator", "open_task: another's order"))
def uses_an_order_for_another_validator(stage: Stage) -> tuple[Round, ...]:
    """Another validator uses an Order that it has seen in the mempool, in the named one's place or its own."""
    round_ = stage.make_round()
    order = stage.order(round_)
    with stage.refused():
        stage.open(round_, order, sender=OUTSIDER.address)
    with stage.refused():
        stage.open(stage.retarget(round_, validator=OUTSIDER.address), order, sender=OUTSIDER.address)
    return ()


@attack("V1 V7", "validator", refused="signature: another signer")
def forges_an_order(stage: Stage) -> tuple[Round, ...]:
    """The validator signs an Order itself, raises one that the payer signed, or takes one from another chain."""
    round_ = stage.make_round()
    order, cheaper = stage.order(round_), stage.order(round_, max_reward=1)
    fork = Market(PyRevm(stage.chain.chain_id + 1))
    for signature in (
        stage.sign_order(VALIDATOR, order),
        stage.sign_order(PAYER, cheaper),
        fork.sign_order(PAYER, order),
    ):
        with stage.refused():
            stage.call(VALIDATOR.address, "open_task", round_.terms.as_tuple(), order, signature)
    return ()


def contradicted(stage: Stage, count: int, **changes: Any) -> Round:
    """Submitted and settled, `count` of its marks contradicted by other rows of the data: just these are misses."""
    round_ = stage.make_round(**changes)
    others = [replace(mark, head_hash=keccak(b"another" + mark.leaf)) for mark in round_.marks[-count:]]
    tree = MerkleTree([*round_.leaves, *(other.leaf for other in others)])
    round_ = replace(stage.retarget(round_, dataset_root=tree.root), tree=tree, contradiction=others[-1])
    round_ = stage.lead(stage.recommit(round_))
    stage.settle(round_, hits=round_.terms.n - count)
    return round_


def dispute(stage: Stage, round_: Round) -> None:
    """The miner shows what contradicts the last mark."""
    stage.dispute(round_, sender=MINER.address, mark=round_.marks[-1])


@attack("V6", "validator payer", ends=DISPUTED, honest=PAID)
def marks_contradicted_rows(stage: Stage) -> Round:
    """The validator marks rows whose prompts stand in the data with other heads too, and the miner hits none."""
    round_ = contradicted(stage, 16)
    dispute(stage, round_)
    return round_


@attack("V6 C9", "validator payer", refused="poke: too early", ends=DISPUTED, honest=PAID)
def ends_the_slash_before_a_dispute(stage: Stage) -> Round:
    """The validator marks contradicted rows and tries to end the slash while it can be disputed."""
    round_ = contradicted(stage, 16)
    stage.last_second(round_)
    with stage.refused():
        stage.poke(round_, sender=VALIDATOR.address)
    dispute(stage, round_)
    return round_


@attack(
    "V6",
    "validator payer",
    refused="task: deadline passed",
    ends=SLASHED,
    honest=PAID,
    residual=UNLEARNABLE,
    bound=REWARD,
)
def marks_contradicted_rows_and_nobody_looks(stage: Stage) -> Round:
    """The validator marks contradicted rows, and nobody disputes in time."""
    round_ = contradicted(stage, 16)
    stage.expire(round_)
    with stage.refused():
        dispute(stage, round_)
    return stage.lapse(round_)


@attack(
    "V6",
    "validator payer",
    refused="task: not in this state",
    ends=REFUNDED,
    honest=PAID,
    residual=UNLEARNABLE,
    bound=REWARD,
)
def contradicts_into_the_doubt_zone(stage: Stage) -> Round:
    """The validator has just so many rows contradicted that an honest miner falls into the doubt zone."""
    round_ = contradicted(stage, 5)
    with stage.refused():
        dispute(stage, round_)
    return round_


@attack(
    "V6",
    "validator payer",
    refused="task: not in this state",
    ends=REFUNDED,
    honest=PAID,
    residual=UNLEARNABLE,
    bound=REWARD,
)
def contradicts_where_nothing_is_slashed(stage: Stage) -> Round:
    """The validator turns slashing off and has all marks contradicted."""
    round_ = contradicted(stage, 16, slashing=False)
    with stage.refused():
        dispute(stage, round_)
    return round_


def play_texts(stage: Stage, responses: Sequence[str], *, limit: int | None = None, **changes: Any) -> Round:
    """A round over these responses, settled by the replies of a model that knows every one by heart.

    Replies are cut off after `limit` characters.
    """
    rows = [Row(f"a prompt {i}", response) for i, response in enumerate(responses)]
    reply_of = {}
    for row in rows:
        head = reply_head(row.response[:limit], is_cut=limit is not None, w=W)
        reply_of[hash_row(DATASET_SALT, row, W)] = NO_HASH if head is None else hash_head(DATASET_SALT, head)
    marks = sorted(reply_of, key=lambda mark: mark.leaf)
    tree = MerkleTree(mark.leaf for mark in marks)
    round_ = stage.make_round(dataset_root=tree.root, **changes)
    round_ = stage.lead(stage.recommit(replace(round_, marks=marks, tree=tree)))
    replies = [reply_of[mark] for mark in marks]
    stage.settle(round_, hits=0, replies=replies, signature=stage.sign(EVIDENCE, round_.transcript(replies)))
    return stage.lapse(round_)


@attack(
    "V6",
    "validator payer",
    ends=SLASHED,
    honest=PAID,
    residual=UNLEARNABLE,
    bound=REWARD,
)
def marks_rows_with_white_space_in_front(stage: Stage) -> Round:
    """The validator marks rows whose responses start with white space, and the miner accepts without a look."""
    return play_texts(stage, [f" a {i} b c and the rest" for i in range(16)])


@attack(
    "V6 V7",
    "validator payer",
    ends=SLASHED,
    honest=PAID,
    residual=UNLEARNABLE,
    bound=REWARD,
)
def cuts_replies_off(stage: Stage) -> Round:
    """The validator allows so few tokens that the head of a reply never fits, and the miner accepts without a look."""
    return play_texts(stage, [f"words {i} of tokens and more" for i in range(16)], limit=2 * W, max_tokens=W)


@attack(
    "V7",
    "validator payer",
    ends=REFUNDED,
    honest=PAID,
    residual=UNLEARNABLE,
    bound=REWARD,
)
def asks_for_perfection(stage: Stage) -> Round:
    """The validator pays for nothing but n hits of n, and the miner hits all but one."""
    round_ = stage.submitted(k_pay=16)
    stage.settle(round_, hits=15)
    return round_


@attack(
    "V7 W11",
    "validator payer",
    refused="judge: no quorum",
    ends=REFUNDED,
    honest=PAID,
    residual=SILENT_COMMITTEE,
    bound=REWARD,
)
def names_a_committee_that_never_signs(stage: Stage) -> Round:
    """The validator names a committee of its own keys, of which too few ever sign."""
    round_ = stage.reach(TaskState.JUDGING)
    with stage.refused():
        stage.judge(round_, [stage.verdict(round_, COMMITTEE[0])], sender=MINER.address)
    return stage.lapse(round_)


@attack(
    "V7",
    "validator payer",
    refused="judge: no quorum",
    ends=REFUNDED,
    honest=PAID,
    residual=SILENT_COMMITTEE,
    bound=REWARD,
)
def asks_for_more_votes_than_there_are_members(stage: Stage) -> Round:
    """The validator sets a quorum larger than the committee."""
    round_ = stage.submitted(**JUDGED | {"quorum": 4})
    stage.settle(round_, hits=16)
    with stage.refused():
        stage.judge(round_, [stage.verdict(round_, member) for member in COMMITTEE], sender=MINER.address)
    return stage.lapse(round_)
