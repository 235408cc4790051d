"""Are these the terms that the task id names, and such as the contract takes (protocol, "Terms")?"""

from collections.abc import Iterator

from validator.amounts import MAX_WEI
from validator.audit.docket import Docket
from validator.audit.findings import Party, Proof, Severity
from validator.audit.history import TaskHistory
from validator.edges.contract import MAX_SECONDS, Network, OrderConsumed
from validator.marks.schemes import SCHEMES
from validator.plan.terms import MAX_PROBES, MIN_PROBES
from validator.protocol.commitment import MAX_HEAD_WORDS, Terms, decode_scheme, hash_task_id
from validator.protocol.state import Weights

MAX_COMMITTEE = 16


def check_opening(docket: Docket, history: TaskHistory) -> None:
    opened = history.opened
    assert opened is not None  # noqa: S101 - check_task asks
    terms, subject, proof = opened.terms, docket.subject, Proof.of_log("TaskOpened", opened.log)
    actor = Party.VALIDATOR, terms.validator
    task_id = hash_task_id(subject.birth_chain_id, subject.address, terms.validator, opened.validator_nonce, terms.hash)
    if task_id != history.task_id:
        docket.contradict(*actor, "task id", "the task id is not the hash of these terms", proof)
    if (opened.validator, opened.miner) != (terms.validator, terms.miner):
        docket.contradict(*actor, "task id", "the event names other parties than the terms", proof)
    for problem in _problems(terms, subject.network):
        docket.contradict(*actor, "terms", f"the terms break a bound: {problem}", proof)
    if scheme_name(terms) is None:
        message = "the scheme is none that this program knows: no bound can be computed"
        docket.accuse(*actor, "scheme", message, proof, severity=Severity.WARNING)
    consumed = history.find(OrderConsumed)
    if consumed is not None and consumed.payer != terms.payer:
        note = Proof.of_log("OrderConsumed", consumed.log)
        docket.contradict(*actor, "order", "the task was opened with another payer's Order", note, proof)


def scheme_name(terms: Terms) -> str | None:
    """The scheme of the terms, if this program knows it."""
    try:
        name = decode_scheme(terms.scheme)
    except UnicodeDecodeError:
        return None
    return name if name in SCHEMES else None


def _problems(terms: Terms, network: Network | None) -> Iterator[str]:
    """Every bound of the protocol's heading "Terms" that these do not keep."""
    n = terms.n
    amounts = {name: getattr(terms, name) for name in ("reward", "fee", "miner_bond", "validator_bond", "answer_fee")}
    amounts["availability_bond"] = terms.availability_bond
    bounds = {
        f"w is 1 to {MAX_HEAD_WORDS}": 1 <= terms.w <= MAX_HEAD_WORDS,
        f"n is {MIN_PROBES} to {MAX_PROBES}": MIN_PROBES <= n <= MAX_PROBES,
        "2n <= 3 kPay <= 3n": 2 * n <= 3 * terms.k_pay <= 3 * n,
        "8 kSlash <= n": 8 * terms.k_slash <= n,
        "M >= w": terms.max_tokens >= terms.w,
        "weights are none, delivered or judged": terms.weights <= Weights.JUDGED,
        "minCoverageBps is at most 10,000": terms.min_coverage_bps <= 10_000,
        f"quorum is at most {MAX_COMMITTEE}, and not zero where weights are judged": (
            terms.quorum <= MAX_COMMITTEE and (terms.quorum > 0 or terms.weights != Weights.JUDGED)
        ),
        "minerEpoch is not zero": terms.miner_epoch > 0,
        "validatorBond >= reward + answerFee": terms.validator_bond >= terms.reward + terms.answer_fee,
        "availabilityBond >= reward / 2": 2 * terms.availability_bond >= terms.reward,
        **{f"{name} is at most 2^96 - 1": amount <= MAX_WEI for name, amount in amounts.items()},
    }
    yield from (bound for bound, is_kept in bounds.items() if not is_kept)
    for state in ("accept", "train", "submitted", "challenged", "answered", "judging", "dispute"):
        least = getattr(network, f"min_{state}_seconds") if network else 0
        if not least <= getattr(terms, f"{state}_seconds") <= MAX_SECONDS:
            yield f"{state}_seconds is {least} to {MAX_SECONDS}"
