"""What a validator knows about one task. Frozen: a new state comes only out of `step`."""

from dataclasses import dataclass
from enum import StrEnum

from validator.protocol.commitment import Terms, hash_head
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
    SLASH_PENDING = "slash pending"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply as it came; `is_cut` says that the token limit ended it."""

    text: str
    is_cut: bool

    def reply_hash(self, dataset_salt: Hash32, w: int) -> Hash32:
        """`replyHash`: of the reply's first w words, or zero for a miss."""
        head = reply_head(self.text, is_cut=self.is_cut, w=w)
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
    onchain_replies: tuple[Hash32, ...] = ()
    hits: int | None = None
    outcome: str | None = None
    faults: tuple[str, ...] = ()

    @property
    def task_id(self) -> TaskId:
        return self.planned.task_id

    @property
    def terms(self) -> Terms:
        return self.planned.terms

    @property
    def is_probed(self) -> bool:
        return None not in self.answers and len(self.answers) == self.terms.n

    def reply_hashes(self, dataset_salt: Hash32) -> tuple[Hash32, ...]:
        """Replies in ascending row-leaf order: those on chain where there was a challenge, else those that we saw."""
        if self.onchain_replies:
            return self.onchain_replies
        return tuple(answer.reply_hash(dataset_salt, self.terms.w) for answer in self.answers if answer is not None)

    @property
    def deadline_s(self) -> UnixSeconds | None:
        """The last second at which the current phase's party may act; None where nobody must."""
        durations = {
            Phase.OPEN: self.terms.accept_seconds,
            Phase.ACCEPTED: self.terms.train_seconds,
            Phase.SUBMITTED: self.terms.submitted_seconds,
            Phase.CHALLENGED: self.terms.challenged_seconds,
            Phase.ANSWERED: self.terms.answered_seconds,
            Phase.SLASH_PENDING: self.terms.dispute_seconds,
        }
        if self.entered_at_s is None or self.phase not in durations:
            return None
        return UnixSeconds(self.entered_at_s + durations[self.phase])

    @property
    def wake_at_s(self) -> UnixSeconds | None:
        """When the task wants to be told the time: past a deadline, or half way to our own."""
        if self.deadline_s is None:
            return None
        if self.phase is Phase.SUBMITTED and self.signature is None:
            return UnixSeconds(self.deadline_s - self.terms.submitted_seconds // 2)
        return UnixSeconds(self.deadline_s + 1)
