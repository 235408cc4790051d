"""Validators that are the payer or the miner too, under another name or not."""

from contracts import TaskState
from tests.contracts.attacks.amounts import FEE, REWARD
from tests.contracts.attacks.registry import attack
from tests.contracts.attacks.residuals import COLLUSION
from tests.contracts.attacks.stage import Stage
from tests.contracts.rounds import EVIDENCE, NO_HASH, VALIDATOR, Round

PAID, REFUNDED, SLASHED = TaskState.PAID, TaskState.REFUNDED, TaskState.SLASHED
VALIDATOR_LAPSED = TaskState.VALIDATOR_LAPSED
DECLINED = TaskState.OPEN_LAPSED


@attack("V8 E6", "validator payer", ends=VALIDATOR_LAPSED, honest=PAID, one_person={"payer": "validator"})
def is_its_own_payer_and_vanishes(stage: Stage) -> Round:
    """The validator is its own payer, has a model trained, and vanishes."""
    round_ = stage.recommit(stage.make_round(payer=VALIDATOR.address))
    order = stage.order(round_)
    stage.call(VALIDATOR.address, "open_task", round_.terms.as_tuple(), order, stage.sign_order(VALIDATOR, order))
    stage.accept(round_)
    stage.submit(round_)
    return stage.lapse(round_)


@attack("E6", "validator payer", ends=SLASHED, honest=DECLINED, one_person={"payer": "validator", "miner": "validator"})
def slashes_itself(stage: Stage) -> Round:
    """One party plays payer, validator and miner and slashes itself, to get its stake out of the lock."""
    stage.call(VALIDATOR.address, "register", EVIDENCE.address, "https://self.example", NO_HASH)
    stage.call(VALIDATOR.address, "stake", 10**7)
    round_ = stage.make_round(payer=VALIDATOR.address, miner=VALIDATOR.address, miner_epoch=1)
    round_ = stage.recommit(round_)
    order = stage.order(round_)
    stage.call(VALIDATOR.address, "open_task", round_.terms.as_tuple(), order, stage.sign_order(VALIDATOR, order))
    stage.accept(round_, sender=VALIDATOR.address)
    stage.submit(round_, sender=VALIDATOR.address)
    return stage.slash(round_)


@attack(
    "V9 W11",
    "validator miner",
    ends=PAID,
    honest=DECLINED,
    residual=COLLUSION,
    bound=REWARD + FEE,
)
def tells_the_marks_to_a_friendly_miner(stage: Stage) -> Round:
    """The validator tells the marks to a miner that trains on nothing else."""
    return stage.pay(stage.submitted())


@attack(
    "V9 W11 E6",
    "validator miner",
    ends=REFUNDED,
    honest=DECLINED,
    one_person={"miner": "validator"},
    residual=COLLUSION,
    bound=FEE,
)
def farms_fees_as_its_own_miner(stage: Stage) -> Round:
    """The validator is its own miner, trains nothing, and settles a refund for the fee."""
    stage.call(VALIDATOR.address, "register", EVIDENCE.address, "https://self.example", NO_HASH)
    stage.call(VALIDATOR.address, "stake", 10**7)
    round_ = stage.recommit(stage.make_round(miner=VALIDATOR.address, miner_epoch=1))
    stage.open(round_)
    stage.accept(round_, sender=VALIDATOR.address)
    stage.submit(round_, sender=VALIDATOR.address)
    stage.settle(round_, hits=round_.terms.k_slash + 1)
    return round_


@attack(
    "V9 W11",
    "validator miner",
    refused="judge: no quorum",
    ends=REFUNDED,
    honest=DECLINED,
    residual=COLLUSION,
    bound=FEE,
)
def cannot_tip_a_committee_off(stage: Stage) -> Round:
    """The validator tells the marks to a friendly miner, but the committee looks at the weights."""
    round_ = stage.reach(TaskState.JUDGING)
    with stage.refused():
        stage.judge(round_, [], sender=VALIDATOR.address)
    return stage.lapse(round_)
