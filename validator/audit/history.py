"""A task as the chain tells it: its events in their order, each with the time of its block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from validator.edges.contract import (
    ContractEvent,
    ModelSubmitted,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskSettled,
)
from validator.protocol.commitment import RowHashes, Terms, hash_marks
from validator.protocol.state import MISS
from validator.types import Hash32, TaskId

E = TypeVar("E", bound=ContractEvent)


@dataclass(frozen=True, slots=True)
class Dated:
    """An event, and the Unix time of its block in seconds."""

    event: ContractEvent
    at_s: int


@dataclass(frozen=True)
class TaskHistory:
    """Everything that the contract has said about one task, in the order of the chain."""

    task_id: TaskId
    events: Sequence[Dated]

    def find(self, kind: type[E]) -> E | None:
        """The first event of a kind."""
        return next((dated.event for dated in self.events if isinstance(dated.event, kind)), None)

    def find_all(self, kind: type[E]) -> list[E]:
        return [dated.event for dated in self.events if isinstance(dated.event, kind)]

    @property
    def opened(self) -> TaskOpened | None:
        return self.find(TaskOpened)

    @property
    def terms(self) -> Terms:
        """Of a task whose opening is known."""
        if self.opened is None:
            raise ValueError("the opening of this task is not in its history")
        return self.opened.terms

    @property
    def settled(self) -> TaskSettled | None:
        return self.find(TaskSettled)

    @property
    def closed(self) -> TaskClosed | None:
        return self.find(TaskClosed)

    @property
    def accepted(self) -> TaskAccepted | None:
        return self.find(TaskAccepted)

    @property
    def model_hash(self) -> Hash32 | None:
        submitted = self.find(ModelSubmitted)
        return submitted.model_hash if submitted else None


def recount(settled: TaskSettled) -> int:
    """Hits as the protocol counts them, whatever the event says; a reply of zero is a miss."""
    pairs = zip(settled.rows, settled.replies, strict=False)
    return sum(row.head_hash == reply != MISS for row, reply in pairs)


def marks_hash_of(rows: Sequence[RowHashes]) -> Hash32 | None:
    """`marksHash`, or None where the leaves are not strictly ascending."""
    try:
        return hash_marks([row.leaf for row in rows])
    except ValueError:
        return None
