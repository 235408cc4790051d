"""Which miner gets a task: pure, from what the chain says of it and from what it did before.

Rule kept: whoever has more at stake and has kept its word gets more, and nobody is certain to get any: a validator that
is predictable can be waited for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from validator.protocol.machine import NEVER_OPENED, PAID
from validator.protocol.state import Phase, TaskState
from validator.types import Address, Wei


@dataclass(frozen=True, slots=True)
class Candidate:
    """A registered miner: what it could still lock, and the tasks of this validator that it had."""

    address: Address
    free_stake_wei: Wei
    paid: int
    failed: int
    open: int
    is_distrusted: bool

    @property
    def weight(self) -> float:
        """Free stake times the expected share of kept tasks, by Laplace's rule of succession."""
        return self.free_stake_wei * (1 + self.paid) / (2 + self.paid + self.failed)


def make_candidate(address: Address, free_stake_wei: Wei, tasks: Iterable[TaskState]) -> Candidate:
    """A miner with its history; weights that contradict its signed replies end all dealings with it."""
    paid = failed = running = 0
    is_distrusted = False
    for task in tasks:
        if task.terms.miner != address or task.outcome == NEVER_OPENED:
            continue
        is_distrusted |= task.is_contradicted
        if task.phase is not Phase.CLOSED:
            running += 1
        elif task.outcome == PAID:
            paid += 1
        else:
            failed += 1
    return Candidate(address, free_stake_wei, paid, failed, running, is_distrusted)


def choose_miner(candidates: Sequence[Candidate], *, bonds_wei: Wei, max_open: int, dice: float) -> Candidate | None:
    """One of those that may have the task, or None; `dice` is uniform in [0, 1)."""
    able = [
        candidate
        for candidate in candidates
        if candidate.free_stake_wei >= bonds_wei and candidate.open < max_open and not candidate.is_distrusted
    ]
    mark = dice * sum(candidate.weight for candidate in able)
    for candidate in able:
        mark -= candidate.weight
        if mark < 0:
            return candidate
    return able[-1] if able else None
