"""What is told of requests and tasks, as JSON: nothing that shows a mark of an unsettled task."""

from collections.abc import Iterable, Sequence
from typing import Any

from validator.coverage.result import CoverageResult
from validator.journal import RequestRow
from validator.marks.schemes import make_scheme
from validator.plan.terms import compute_fee
from validator.protocol.commitment import decode_scheme
from validator.protocol.state import TaskState
from validator.protocol.verdict import Thresholds
from validator.requests.orders import Request
from validator.requests.quotes import judge
from validator.requests.status import RequestStatus, Stage, explain_task


def describe_request(
    row: RequestRow, request: Request, status: RequestStatus, tasks: Sequence[TaskState]
) -> dict[str, Any]:
    """A request with its tasks, oldest first, and the files of the model that was paid for."""
    paid = find_paid(tasks)
    return {
        "request_id": _hex(row.request_id),
        "stage": status.stage,
        "reason": status.reason,
        "attempts": status.attempts,
        "max_attempts": len(request.orders),
        "payer": request.payer,
        "source_data_hash": _hex(request.source_data_hash),
        "base_model": request.base_model,
        "spec": request.spec,
        "reward_wei": request.reward_wei,
        "fee_wei": compute_fee(request.reward_wei),
        "scheme": request.scheme,
        "probes": request.probes,
        "weights": request.weights.name.lower(),
        "accepted_at_s": row.accepted_at_s,
        "cancelled_at_s": row.cancelled_at_s,
        "order_nonces": [signed.order.nonce for signed in request.orders],
        "expiry_s": request.orders[-1].order.expiry,
        "tasks": [describe_task(task) for task in tasks],
        "model": None
        if paid is None
        else {
            "task_id": _hex(paid.task_id),
            "model_hash": _hex(paid.model_hash or b""),
            "files": [[file.path, file.size_bytes, _hex(file.sha256)] for file in paid.weights_files],
        },
    }


def describe_task(state: TaskState) -> dict[str, Any]:
    """What may be told of a task, as JSON: no reply and nothing else that shows a mark."""
    terms = state.terms
    thresholds = Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing)
    verdict = None
    if state.hits is not None:
        verdict = str(judge(make_scheme(decode_scheme(terms.scheme)), thresholds, state.hits))
    return {
        "task_id": _hex(state.task_id),
        "phase": state.phase,
        "outcome": state.outcome,
        "reason": explain_task(state),
        "miner": terms.miner,
        "entered_at_s": state.entered_at_s,
        "deadline_s": state.deadline_s,
        "answered": sum(answer is not None for answer in state.answers),
        "n": terms.n,
        "hits": state.hits,
        "verdict": verdict,
        "coverage": str(CoverageResult.from_json(state.coverage.encode())) if state.coverage else None,
        "faults": list(state.faults),
    }


def find_paid(tasks: Iterable[TaskState]) -> TaskState | None:
    """The one whose weights the customer gets."""
    return next((task for task in tasks if task.outcome == Stage.PAID and task.weights_files), None)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
