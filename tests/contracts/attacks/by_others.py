"""Payers, outsiders and the guardian; what the chain itself does; and the economics that need no lie."""

from contracts import TaskState
from tests.contracts.attacks.registry import attack
from tests.contracts.attacks.stage import FUNDS_WEI, Stage
from tests.contracts.rounds import (
    GUARDIAN,
    MINER,
    OUTSIDER,
    PAYER,
    VALIDATOR,
    Round,
)
from tests.contracts.wallets import BURNS_ALL_GAS, INSISTS, REENTERS, REVERTS, REVERTS_WITH_1_MB, Wallet
from validator.protocol import typed_data
from validator.types import UnixSeconds

PAID, REFUNDED, SLASHED = TaskState.PAID, TaskState.REFUNDED, TaskState.SLASHED
MINER_LAPSED, VALIDATOR_LAPSED = TaskState.MINER_LAPSED, TaskState.VALIDATOR_LAPSED
DECLINED = TaskState.OPEN_LAPSED


# --- the chain --------------------------------------------------------------------------------------------------------


@attack(
    "C5",
    "outsider",
    refused="settle: commitment does not open",
    ends=VALIDATOR_LAPSED,
    honest=PAID,
    one_person={"validator": "outsider"},
)
def copies_a_commitment(stage: Stage) -> Round:
    """An outsider copies a validator's commitment for a task of its own, and cannot open it."""
    original = stage.make_round()
    stage.call(OUTSIDER.address, "deposit", value_wei=FUNDS_WEI)
    copy = stage.retarget(original, validator=OUTSIDER.address)
    stage.open(copy, stage.order(copy), sender=OUTSIDER.address)
    assert not stage.view("is_commitment_used", VALIDATOR.address, original.terms.commitment)
    stage.accept(copy)
    stage.submit(copy)
    with stage.refused():
        stage.settle(copy, hits=16, sender=OUTSIDER.address)
    return stage.lapse(copy)


@attack("C6", "outsider", refused="settle: only the validator", ends=PAID, honest=PAID)
def runs_ahead_of_a_settlement(stage: Stage) -> Round:
    """An outsider sends the validator's settlement from the mempool as its own."""
    round_ = stage.submitted()
    with stage.refused():
        stage.settle(round_, hits=16, sender=OUTSIDER.address)
    return stage.pay(round_)


@attack(
    "C4 C6",
    "outsider",
    refused=(
        "accept: only the miner",
        "submit: only the miner",
        "challenge: only the validator",
        "answer: only the miner",
    ),
    ends=SLASHED,
    honest=SLASHED,
)
def acts_in_a_partys_place(stage: Stage) -> Round:
    """An outsider accepts, submits, challenges or answers in a party's place."""
    round_ = stage.reach(TaskState.OPEN)
    for act, then in (
        (lambda: stage.accept(round_, sender=OUTSIDER.address), stage.accept),
        (lambda: stage.submit(round_, sender=OUTSIDER.address), stage.submit),
        (lambda: stage.challenge(round_, sender=OUTSIDER.address), None),
        (lambda: stage.answer(round_, hits=16, sender=OUTSIDER.address), None),
    ):
        with stage.refused():
            act()
        if then is not None:
            then(round_)
    return stage.slash(round_)


@attack("C9", "outsider", refused="poke: too early", ends=PAID, honest=PAID)
def ends_a_task_early(stage: Stage) -> Round:
    """An outsider ends every state in its last second."""
    round_ = stage.make_round()
    stage.open(round_)
    for step in (stage.accept, stage.submit, stage.pay):
        stage.last_second(round_)
        with stage.refused():
            stage.poke(round_)
        step(round_)
    return round_


@attack("E13 C9", "outsider", refused=("poke: too early", "poke: not in this state"), ends=PAID, honest=PAID)
def races_the_settlement(stage: Stage) -> Round:
    """An outsider ends the task in the block of its settlement, before it and behind it."""
    round_ = stage.submitted()
    stage.last_second(round_)
    with stage.refused():
        stage.poke(round_)
    stage.pay(round_)
    with stage.refused():
        stage.poke(round_)
    return round_


# --- payers -----------------------------------------------------------------------------------------------------------


@attack("E7", "payer validator", ends=(DECLINED, DECLINED, DECLINED), honest=(DECLINED, DECLINED, DECLINED))
def opens_tasks_to_lock_a_miner(stage: Stage) -> tuple[Round, ...]:
    """The payer and the validator open tasks to lock a miner's stake, which is free until it accepts."""
    rounds = tuple(stage.reach(TaskState.OPEN) for _ in range(3))
    assert stage.miner().locked == 0
    stage.call(MINER.address, "request_unstake", stage.miner().stake)
    for round_ in rounds:
        stage.lapse(round_)
    return rounds


@attack("E7", "payer", refused="credits: too little")
def empties_its_deposit(stage: Stage) -> tuple[Round, ...]:
    """The payer signs an Order and withdraws before it is used."""
    round_ = stage.make_round()
    stage.call(PAYER.address, "withdraw", stage.credits(PAYER.address))
    with stage.refused():
        stage.open(round_)
    return ()


@attack("V7 C5", "payer", refused=("signature: another signer", "open_task: offer expired"), ends=PAID, honest=PAID)
def stretches_an_offer(stage: Stage) -> Round:
    """The payer edits the validator's Offer, prolongs it, or uses it twice."""
    round_, expiry = stage.make_round(), UnixSeconds(stage.chain.now)
    offer = stage.sign(VALIDATOR, typed_data.offer(round_.terms, round_.nonce, expiry))
    cheaper = stage.retarget(round_, fee=0)
    for terms, until in ((cheaper.terms, expiry), (round_.terms, expiry + 1)):
        with stage.refused():
            stage.call(PAYER.address, "open_task_with_offer", terms.as_tuple(), until, offer)
    stage.call(PAYER.address, "open_task_with_offer", round_.terms.as_tuple(), expiry, offer)
    with stage.refused():
        stage.call(PAYER.address, "open_task_with_offer", round_.terms.as_tuple(), expiry, offer)
    stage.chain.now += 1
    with stage.refused():
        stage.call(PAYER.address, "open_task_with_offer", round_.terms.as_tuple(), expiry, offer)
    stage.accept(round_)
    stage.submit(round_)
    return stage.pay(round_)


@attack("E7 W2", "payer miner", ends=MINER_LAPSED, honest=DECLINED)
def costs_the_validator_its_fee(stage: Stage) -> Round:
    """The payer is a silent miner under another name, so that the validator works for no fee."""
    return stage.lapse(stage.challenged())


@attack(
    "E2",
    "payer",
    refused="send: receiver reverted",
    ends=(REFUNDED,) * 3,
    honest=(REFUNDED,) * 3,
    one_person={"outsider": "payer"},
)
def receives_with_malice(stage: Stage) -> tuple[Round, ...]:
    """The payer is a contract that reverts, burns all gas or returns 1 MB when it is paid: it blocks itself alone."""
    rounds = []
    for on_ether in (REVERTS, BURNS_ALL_GAS, REVERTS_WITH_1_MB):
        wallet = Wallet(stage, on_ether)
        wallet.call("deposit", value_wei=FUNDS_WEI)
        round_, expiry = stage.make_round(payer=wallet.address), UnixSeconds(stage.chain.now)
        offer = stage.sign(VALIDATOR, typed_data.offer(round_.terms, round_.nonce, expiry))
        wallet.call("open_task_with_offer", round_.terms.as_tuple(), expiry, offer)
        stage.accept(round_)
        stage.submit(round_)
        stage.settle(round_, hits=round_.terms.k_slash + 1)
        with stage.refused():
            wallet.call("withdraw", 1)
        rounds.append(round_)
    stage.call(VALIDATOR.address, "withdraw", stage.credits(VALIDATOR.address))
    return tuple(rounds)


# --- accounts ---------------------------------------------------------------------------------------------------------


@attack("E1", "outsider", refused="send: receiver reverted")
def withdraws_again_while_it_is_paid(stage: Stage) -> tuple[Round, ...]:
    """An outsider's contract withdraws again while it is being paid."""
    insisting, patient = Wallet(stage, REENTERS + INSISTS), Wallet(stage, REENTERS)
    for wallet in (insisting, patient):
        wallet.call("deposit", value_wei=1_000)
    with stage.refused():
        insisting.call("withdraw", 400)
    patient.call("withdraw", 400)
    assert (stage.credits(insisting.address), stage.credits(patient.address)) == (1_000, 600)
    return ()


@attack("E3", "outsider", ends=SLASHED, honest=SLASHED)
def forces_ether_in(stage: Stage) -> Round:
    """An outsider forces ether into the contract in the middle of a task."""
    round_ = stage.submitted()
    stage.force_ether(123_456)
    return stage.slash(round_)


@attack("E5", "miner", ends=SLASHED, honest=DECLINED)
def is_slashed_for_one_wei(stage: Stage) -> Round:
    """The miner fails a task in which every amount is one wei, and nothing is rounded away."""
    amounts = dict.fromkeys(("reward", "fee", "miner_bond", "availability_bond", "answer_fee"), 1)
    return stage.slash(stage.submitted(**amounts, validator_bond=2))


@attack("E9", "validator", refused="", ends=PAID, honest=PAID)
def sends_too_long_arrays(stage: Stage) -> Round:
    """The validator challenges and settles with more than 64 rows, to exhaust a block."""
    round_ = stage.submitted()
    with stage.refused():
        stage.on_task(VALIDATOR.address, "challenge", round_, [bytes([i]) * 32 for i in range(65)])
    with stage.refused():
        stage.settle(round_, hits=16, rows=round_.marks * 5, replies=round_.replies(16) * 5)
    return stage.pay(round_)


@attack("E10", "outsider", refused="open_task: sunset", ends=PAID, honest=PAID)
def abuses_the_guardians_key(stage: Stage) -> Round:
    """The guardian, or whoever has its key, stops new tasks for ever; a running one ends as if nothing were."""
    round_ = stage.submitted()
    stage.call(GUARDIAN.address, "sunset")
    with stage.refused():
        stage.open(stage.make_round())
    stage.pay(round_)
    stage.call(MINER.address, "withdraw", stage.credits(MINER.address))
    return round_


@attack("E11", "validator payer", refused=("terms: amount too large", "credits: too little"))
def overflows_an_amount(stage: Stage) -> tuple[Round, ...]:
    """The validator and the payer open or withdraw amounts at which sums would overflow."""
    for change in ({"reward": 2**256 - 1}, {"validator_bond": 2**96}, {"miner_bond": 2**255}):
        with stage.refused():
            stage.open(stage.make_round(**change))
    with stage.refused():
        stage.open(stage.make_round(fee=2**96 - 1))
    with stage.refused():
        stage.call(PAYER.address, "withdraw", 2**256 - 1)
    return ()


@attack("E13", "miner", refused=("unstake: too early", "unstake: nothing requested"))
def unstakes_early_and_twice(stage: Stage) -> tuple[Round, ...]:
    """The miner takes its stake out before the delay is over, and twice."""
    stage.call(MINER.address, "request_unstake", 1_000)
    stage.chain.now = stage.miner().unstake_ready_at - 1
    with stage.refused():
        stage.call(MINER.address, "unstake")
    stage.chain.now += 1
    stage.call(MINER.address, "unstake")
    with stage.refused():
        stage.call(MINER.address, "unstake")
    return ()


@attack("E10", "outsider", refused="sunset: only the guardian")
def plays_the_guardian(stage: Stage) -> tuple[Round, ...]:
    """An outsider stops new tasks."""
    with stage.refused():
        stage.call(OUTSIDER.address, "sunset")
    return ()
