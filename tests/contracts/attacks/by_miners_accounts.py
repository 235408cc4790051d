"""Miners that lie about their keys and their stake; none has trained, so that an honest one would have declined."""

from contracts import TaskState
from tests.contracts.attacks.registry import attack
from tests.contracts.attacks.stage import Stage
from tests.contracts.rounds import EVIDENCE, MINER, NO_HASH, OUTSIDER, Round
from tests.contracts.signatures import INVALID_SIGNATURES

SLASHED, MINER_LAPSED = TaskState.SLASHED, TaskState.MINER_LAPSED
OPEN_LAPSED = DECLINED = TaskState.OPEN_LAPSED


# --- keys and signatures ----------------------------------------------------------------------------------------------


@attack("W6", "miner", refused="signature: another signer", ends=MINER_LAPSED, honest=DECLINED)
def signs_with_the_wrong_key(stage: Stage) -> Round:
    """The miner signs with its own account's key or another one, so that it can disown the transcript."""
    round_ = stage.submitted()
    for key in (MINER, OUTSIDER):
        with stage.refused():
            stage.settle(round_, hits=16, signature=stage.sign(key, round_.transcript(round_.replies(16))))
    stage.challenge(round_)
    return stage.lapse(round_)


@attack("W6", "miner", ends=SLASHED, honest=DECLINED)
def puts_code_on_its_key(stage: Stage) -> Round:
    """The miner gives its evidence key code (EIP-7702) that denies all signatures (ERC-1271)."""
    round_ = stage.submitted()
    stage.chain.set_code(EVIDENCE.address, bytes.fromhex("60006000fd"))
    return stage.slash(round_)


@attack("W6", "miner", refused="rotate: a task is running", ends=SLASHED, honest=DECLINED, is_answered=True)
def rotates_its_key_throughout(stage: Stage) -> Round:
    """The miner tries to rotate its evidence key in every state from Accepted on."""
    round_ = stage.reach(TaskState.OPEN)
    return stage.try_throughout(round_, lambda: stage.call(MINER.address, "rotate_evidence_key", OUTSIDER.address))


@attack("W6", "miner", refused="signature: another signer", ends=SLASHED, honest=DECLINED)
def rotates_its_key_before_it_accepts(stage: Stage) -> Round:
    """The miner rotates its evidence key between opening and acceptance, and denies what the new one has signed."""
    round_ = stage.reach(TaskState.OPEN)
    stage.call(MINER.address, "rotate_evidence_key", OUTSIDER.address)
    stage.accept(round_)
    stage.submit(round_)
    with stage.refused():
        stage.settle(round_, hits=16)
    stage.settle(round_, hits=0, signature=stage.sign(OUTSIDER, round_.transcript(round_.replies(0))))
    return stage.lapse(round_)


@attack(
    "W7",
    "miner",
    refused=(
        "signature: high s",
        "signature: not 65 bytes",
        "",
        "signature: v",
        "signature: invalid",
        "signature: another signer",
    ),
    ends=MINER_LAPSED,
    honest=DECLINED,
)
def encodes_its_signature_anew(stage: Stage) -> Round:
    """The miner hands out its signature malleable, compact, short, long or zero, and is silent when challenged."""
    round_ = stage.submitted()
    signature = stage.sign(EVIDENCE, round_.transcript(round_.replies(16)))
    for tamper, _ in INVALID_SIGNATURES:
        with stage.refused():
            stage.settle(round_, hits=16, signature=tamper(signature))
    stage.challenge(round_)
    return stage.lapse(round_)


# --- stake ------------------------------------------------------------------------------------------------------------


@attack("C8", "miner", refused="request_unstake: over free stake", ends=SLASHED, honest=DECLINED, is_answered=True)
def unstakes_throughout(stage: Stage) -> Round:
    """The miner tries to take its bonds out in every state from Accepted on."""
    round_ = stage.reach(TaskState.OPEN)
    bonds_wei = round_.terms.miner_bond + round_.terms.availability_bond
    stage.call(MINER.address, "request_unstake", stage.miner().stake - bonds_wei)
    return stage.try_throughout(round_, lambda: stage.call(MINER.address, "request_unstake", 1))


@attack("C8", "miner", refused="credits: too little", ends=SLASHED, honest=DECLINED, is_answered=True)
def withdraws_throughout(stage: Stage) -> Round:
    """The miner empties its credit and tries to withdraw its bonds in every state from Accepted on."""
    round_ = stage.reach(TaskState.OPEN)
    return stage.try_throughout(round_, lambda: stage.call(MINER.address, "withdraw", stage.credits(MINER.address) + 1))


@attack("C7", "miner", refused="register: a task is running", ends=SLASHED, honest=DECLINED, is_answered=True)
def registers_anew_throughout(stage: Stage) -> Round:
    """The miner tries to register anew in every state from Accepted on."""
    round_ = stage.reach(TaskState.OPEN)
    return stage.try_throughout(round_, lambda: stage.call(MINER.address, "register", EVIDENCE.address, "", NO_HASH))


@attack("C7", "miner", refused="accept: another epoch", ends=OPEN_LAPSED, honest=DECLINED)
def registers_anew_before_it_accepts(stage: Stage) -> Round:
    """The miner registers anew between opening and acceptance, so that the commitment does not bind it."""
    round_ = stage.reach(TaskState.OPEN)
    stage.call(MINER.address, "register", EVIDENCE.address, "", NO_HASH)
    with stage.refused():
        stage.accept(round_)
    return stage.lapse(round_)


@attack("C8 E14", "miner", refused="accept: bonds over free stake", ends=OPEN_LAPSED, honest=DECLINED)
def unstakes_before_it_accepts(stage: Stage) -> Round:
    """The miner takes its stake out between opening and acceptance."""
    round_ = stage.reach(TaskState.OPEN)
    bonds_wei = round_.terms.miner_bond + round_.terms.availability_bond
    stage.call(MINER.address, "request_unstake", stage.miner().stake - bonds_wei + 1)
    with stage.refused():
        stage.accept(round_)
    return stage.lapse(round_)


@attack(
    "E14 W9", "miner", refused="accept: bonds over free stake", ends=(SLASHED, OPEN_LAPSED), honest=(DECLINED, DECLINED)
)
def bonds_one_stake_to_many_tasks(stage: Stage) -> tuple[Round, Round]:
    """The miner accepts a second task with the stake that is bonded to the first."""
    first = stage.submitted()
    bonds_wei = first.terms.miner_bond + first.terms.availability_bond
    stage.call(MINER.address, "request_unstake", stage.miner().stake - 2 * bonds_wei + 1)
    second = stage.reach(TaskState.OPEN)
    with stage.refused():
        stage.accept(second)
    return stage.slash(first), stage.lapse(second)


@attack(
    "W9 E14",
    "miner outsider",
    refused="accept: bonds over free stake",
    ends=OPEN_LAPSED,
    honest=DECLINED,
    one_person={"outsider": "miner"},
)
def registers_two_miners_on_one_stake(stage: Stage) -> Round:
    """One machine registers twice, and its second identity accepts on the stake of its first."""
    stage.enter_as_miner(stake_wei=1)
    round_ = stage.recommit(stage.make_round(miner=OUTSIDER.address, miner_epoch=1))
    stage.open(round_)
    with stage.refused():
        stage.accept(round_, sender=OUTSIDER.address)
    return stage.lapse(round_)
