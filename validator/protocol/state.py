"""What a validator knows about one task. Frozen: a new state comes only out of `step`."""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from validator.protocol.commitment import ModelFile, Terms, hash_head
from validator.protocol.events import TaskPlanned
from validator.protocol.wire import reply_head
from validator.types import Hash32, TaskId, UnixSeconds

MISS = Hash32(bytes(32))
"""The replyHash of an answer that has too few words."""


class Phase(StrEnum):
    """The contract's states (protocol, "States, durations, defaults"), and the one before the chain knows the task."""

    PLANNED = "planned"
    OPEN = "open"
    ACCEPTED = "accepted"
    SUBMITTED = "submitted"
    CHALLENGED = "challenged"
    ANSWERED = "answered"
    JUDGING = "judging"
    SLASH_PENDING = "slash pending"
    CLOSED = "closed"


class Weights(IntEnum):
    """What the terms ask a miner to return (protocol, "Returned weights")."""

    NONE = 0
    DELIVERED = 1
    JUDGED = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply as it came; `is_cut` says that the token limit ended it."""

    text: str
    is_cut: bool

    def head(self, w: int) -> str | None:
        """The reply's first w words, None where the token limit cut into them."""
        return reply_head(self.text, is_cut=self.is_cut, w=w)

    def reply_hash(self, dataset_salt: Hash32, w: int) -> Hash32:
        """`replyHash`: of the head, or zero for a miss."""
        head = self.head(w)
        return MISS if head is None else hash_head(dataset_salt, head)


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task. Chain phase and wire progress are apart, because either may be ahead of the other."""

    planned: TaskPlanned
    phase: Phase = Phase.PLANNED
    entered_at_s: UnixSeconds | None = None
    job_id: str | None = None
    model_hash: Hash32 | None = None
    model_id: str | None = None
    answers: tuple[Answer | None, ...] = ()
    signature: bytes | None = None
    weights_files: tuple[ModelFile, ...] = ()
    weights_answers: tuple[Answer, ...] = ()
    weights_fault: str | None = None
    coverage: str | None = None
    """How much of the dataset the returned weights were trained on, as in `WeightsProbed`."""
    is_contradicted: bool = False
    """Its replies hit often enough to pay, and the returned weights do not give them (protocol, "Returned weights")."""
    bundle_hash: Hash32 | None = None
    onchain_replies: tuple[Hash32, ...] = ()
    hits: int | None = None
    outcome: str | None = None
    faults: tuple[str, ...] = ()
    told_s: UnixSeconds | None = None
    """The latest time that the task was told of."""

    @property
    def task_id(self) -> TaskId:
        return self.planned.task_id

    @property
    def terms(self) -> Terms:
        return self.planned.terms

    @property
    def is_probed(self) -> bool:
        return None not in self.answers and len(self.answers) == self.terms.n

    @property
    def same_heads(self) -> int:
        """How many probes the returned weights answer as the miner did, as far as it is compared."""
        w = self.terms.w
        return sum(
            theirs is not None and ours.head(w) == theirs.head(w)
            for ours, theirs in zip(self.weights_answers, self.answers, strict=False)
        )

    @property
    def is_waiting_for_weights(self) -> bool:
        """The terms ask for weights, and it is not known yet what they answer."""
        is_known = self.weights_answers or self.weights_fault is not None
        return self.terms.weights != Weights.NONE and not is_known

    def reply_hashes(self, dataset_salt: Hash32) -> tuple[Hash32, ...]:
        """Replies in ascending row-leaf order: those on chain where there was a challenge, else those that we saw."""
        if self.onchain_replies:
            return self.onchain_replies
        return tuple(answer.reply_hash(dataset_salt, self.terms.w) for answer in self.answers if answer is not None)

    def without_replies(self) -> "TaskState":
        """What is worth keeping in memory of a task that has ended; the journal has the rest."""
        return replace(self, answers=(), weights_answers=(), signature=None, onchain_replies=())

    @property
    def deadline_s(self) -> UnixSeconds | None:
        """The last second at which the current phase's party may act; None where nobody must."""
        durations = {
            Phase.OPEN: self.terms.accept_seconds,
            Phase.ACCEPTED: self.terms.train_seconds,
            Phase.SUBMITTED: self.terms.submitted_seconds,
            Phase.CHALLENGED: self.terms.challenged_seconds,
            Phase.ANSWERED: self.terms.answered_seconds,
            Phase.JUDGING: self.terms.judging_seconds,
            Phase.SLASH_PENDING: self.terms.dispute_seconds,
        }
        if self.entered_at_s is None or self.phase not in durations:
            return None
        return UnixSeconds(self.entered_at_s + durations[self.phase])

    @property
    def half_time_s(self) -> UnixSeconds | None:
        """While the miner is probed: when it must be challenged, so that it has time to answer on chain."""
        if self.phase is not Phase.SUBMITTED or self.deadline_s is None:
            return None
        return UnixSeconds(self.deadline_s - self.terms.submitted_seconds // 2)

    @property
    def wake_at_s(self) -> UnixSeconds | None:
        """When the task wants to be told the time: past a deadline, or half way to our own."""
        if self.deadline_s is None:
            return None
        if self.half_time_s is not None and self.bundle_hash is None and (self.told_s or 0) < self.half_time_s:
            return self.half_time_s
        return UnixSeconds(self.deadline_s + 1)
