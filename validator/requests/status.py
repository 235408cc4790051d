"""What has become of a request: how far its tasks are, whether another attempt follows, and where the money is.

Rules kept: no attempt follows a model that was submitted, because whoever was probed knows the marks; every stage has a
reason in words (complaint 16 of the users: rewards that stop, and no reason given).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from validator.amounts import describe_ether
from validator.protocol.machine import NEVER_OPENED
from validator.protocol.state import Phase, TaskState
from validator.requests.orders import Request, SignedOrder
from validator.types import TaskId


class Stage(StrEnum):
    """Where a request stands; all but the first two are for ever."""

    QUEUED = "queued"
    RUNNING = "running"
    PAID = "paid"
    REFUNDED = "refunded"
    SLASHED = "slashed"
    DISPUTED = "disputed"
    FAILED = "failed"
    OUT_OF_ATTEMPTS = "out of attempts"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self not in (Stage.QUEUED, Stage.RUNNING)


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """What has become of a request, with the reason in words; `task_id` is the latest attempt's."""

    stage: Stage
    reason: str
    attempts: int
    task_id: TaskId | None


def next_order(
    request: Request, tasks: Sequence[TaskState], *, now_s: int, is_cancelled: bool, is_public: bool = False
) -> SignedOrder | None:
    """The Order to open the next task with; None while one is running, and where no further attempt may be made.

    `tasks` are those of the request; `is_public` says that rows of its dataset have become public. An Order is used up
    by its attempt, even one that was never opened: what was wrong with it may be wrong still.
    """
    if is_cancelled or is_public or any(_blocks_another(task) for task in tasks):
        return None
    used = {task.planned.order.nonce for task in tasks}
    left = (signed for signed in request.orders if signed.order.nonce not in used)
    return next((signed for signed in left if signed.order.expiry > now_s), None)


def _blocks_another(task: TaskState) -> bool:
    """Running, or so far that marks are known to somebody: the miner had submitted, so it may have been probed."""
    return task.phase is not Phase.CLOSED or task.model_hash is not None


def request_status(
    request: Request, tasks: Sequence[TaskState], *, now_s: int, is_cancelled: bool = False, is_public: bool = False
) -> RequestStatus:
    """What follows from the tasks of a request, oldest first; the flags as of `next_order`."""
    stage, reason = _judge(request, tasks, now_s, is_cancelled, is_public)
    return RequestStatus(stage, reason, len(tasks), tasks[-1].task_id if tasks else None)


def _judge(
    request: Request, tasks: Sequence[TaskState], now_s: int, is_cancelled: bool, is_public: bool
) -> tuple[Stage, str]:
    last, total = tasks[-1] if tasks else None, len(request.orders)
    before = f" after attempt {len(tasks)} of {total}: {explain_task(last)}" if last else ""
    if last is not None and last.phase is not Phase.CLOSED:
        return Stage.RUNNING, f"attempt {len(tasks)} of {total}: {explain_task(last)}"
    if last is not None and last.model_hash is not None:
        stages = {stage.value: stage for stage in Stage}
        return stages.get(last.outcome or "", Stage.FAILED), explain_task(last)
    if is_cancelled:
        return Stage.CANCELLED, f"cancelled by the payer{before or ' before a task was opened'}; nothing is held back"
    if is_public:
        why = "prompts of its dataset became public with another task: submit it again with --reuse-revealed"
        return Stage.EXPIRED, f"{why}{before}"
    if next_order(request, tasks, now_s=now_s, is_cancelled=False) is not None:
        return Stage.QUEUED, f"waiting for a miner and a free place{before}"
    if len(tasks) < total:
        return Stage.EXPIRED, f"the Orders that are left have expired{before or ' before a miner was found'}"
    return Stage.OUT_OF_ATTEMPTS, f"no Order is left{before}"


def explain_task(state: TaskState) -> str:
    """Where one task stands and where the money is, in words for the payer."""
    terms, miner = state.terms, state.terms.miner
    reward, fee = describe_ether(terms.reward), describe_ether(terms.fee)
    slashed = f"slashed up to {terms.k_slash}" if terms.slashing else "nobody is slashed"
    hits = f"{state.hits} of {terms.n} probes hit (paid from {terms.k_pay}, {slashed})"
    back = f"reward and fee, {describe_ether(terms.reward + terms.fee)}, are back in the payer's credit"
    match state.outcome or state.phase:
        case Phase.PLANNED:
            return "being opened on chain"
        case Phase.OPEN:
            return f"the miner {miner} has the data or is being sent it, and has to accept"
        case Phase.ACCEPTED:
            return f"the miner {miner} is training"
        case Phase.SUBMITTED:
            return f"the miner {miner} has submitted its model, which is being probed and settled"
        case Phase.CHALLENGED:
            return f"the miner {miner} withheld replies or its signature and has to answer on chain"
        case Phase.ANSWERED:
            return f"the miner {miner} has answered on chain, which is being settled"
        case Phase.JUDGING:
            return f"{hits}; the committee has to judge the returned weights"
        case Phase.SLASH_PENDING:
            return f"{hits}; the slash can be disputed for a while"
        case "paid":
            return f"{hits}: the miner {miner} has the reward of {reward}, the validator its fee of {fee}"
        case "refunded":
            doubt = "the returned weights were not attested" if (state.hits or 0) >= terms.k_pay else "too few to pay"
            return f"{hits}, {doubt}: the reward of {reward} is back in the payer's credit, the fee of {fee} is spent"
        case "slashed":
            return (
                f"{hits}: the miner {miner} was slashed, the reward of {reward} is back in the payer's credit, the fee "
                f"of {fee} is spent"
            )
        case "disputed":
            return f"the slash was disputed with rows that contradict each other: {back}"
        case "open_lapsed":
            return f"the miner {miner} did not accept in time: {back}"
        case "miner_lapsed":
            missed = "answer on chain" if state.model_hash else "submit a model"
            return f"the miner {miner} did not {missed} in time: {back}"
        case "validator_lapsed":
            return f"the validator did not settle in time: {back}, and the miner was paid from the validator's bond"
        case outcome if outcome == NEVER_OPENED:
            why = f" ({state.faults[-1]})" if state.faults else ""
            return f"the task could not be opened{why}: nothing has moved"
        case outcome:
            return f"closed as {outcome}"
