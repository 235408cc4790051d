"""What a script declares, and the list of all scripts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from contracts import TaskState
from tests.contracts.attacks.amounts import NOTHING, Amount, Moved, moved_by
from tests.contracts.attacks.residuals import Residual
from tests.contracts.attacks.stage import Stage
from tests.contracts.rounds import Round

Script = Callable[[Stage], Round | tuple[Round, ...]]


@dataclass(frozen=True)
class Attack:
    """One script with all that must come of it."""

    script: Script
    rows: tuple[str, ...]
    """Rows of the fault catalogue."""
    by: tuple[str, ...]
    """The attackers: parties that act as one."""
    refused: tuple[str, ...]
    """The exact reasons of all refusals, in order, each once; empty for the ABI decoder's."""
    ends: tuple[TaskState, ...]
    """The outcome of each task that the script opens, in the order in which it returns them."""
    honest: tuple[TaskState, ...]
    """How the same tasks end where everybody plays honestly: Paid where the miner has really trained; where it has
    not it declines, and the task lapses open."""
    is_answered: bool
    one_person: Mapping[str, str]
    """Parties that are played by another one."""
    residual: Residual | None
    """What the protocol cannot prevent; None where the attackers gain nothing and harm nobody honest."""
    bound: Amount
    """The most that a residual brings the attackers."""

    @property
    def name(self) -> str:
        """The first line of the script's docstring, a sentence."""
        return str(self.script.__doc__).partition("\n")[0]

    @property
    def moved(self) -> Moved:
        """Absolutely, from before the script to after it."""
        total = sum((moved_by(end, is_answered=self.is_answered) for end in self.ends), start=Moved())
        return total.merged(dict(self.one_person))

    @property
    def profit(self) -> Moved:
        """Against honest play of the same tasks."""
        honest = sum((moved_by(end, is_answered=False) for end in self.honest), start=Moved())
        return self.moved - honest.merged(dict(self.one_person))

    @property
    def attackers_profit(self) -> Amount:
        return self.profit.of(*self.by)


ATTACKS: list[Attack] = []


def attack(
    rows: str,
    by: str,
    *,
    refused: str | Sequence[str] = (),
    ends: TaskState | tuple[TaskState, ...] = (),
    honest: TaskState | tuple[TaskState, ...] = (),
    is_answered: bool = False,
    one_person: Mapping[str, str] | None = None,
    residual: Residual | None = None,
    bound: Amount = NOTHING,
) -> Callable[[Script], Script]:
    """Put the script on the list; `rows` and `by` are separated by spaces, no `ends` means that no task is opened."""

    def register(script: Script) -> Script:
        ATTACKS.append(
            Attack(
                script=script,
                rows=tuple(rows.split()),
                by=tuple(by.split()),
                refused=(refused,) if isinstance(refused, str) else tuple(refused),
                ends=(ends,) if isinstance(ends, TaskState) else ends,
                honest=(honest,) if isinstance(honest, TaskState) else honest,
                is_answered=is_answered,
                one_person=one_person or {},
                residual=residual,
                bound=bound,
            )
        )
        return script

    return register


NOT_SCRIPTED = {
    "C1": "the node's: no dataset leaves before `open_task` is final",
    "C2": "the node's: a task whose opening is undone is forgotten",
    "C3": "the node's: a settlement that is undone is sent again",
    "C12": "the node's: state is read from the contract, events are hints",
    "C13": "the node's: as C2",
    "E4": "the contract takes the native coin only",
    "E12": "not an attack: every script runs on the shipped bytecode, and a test recompiles it",
    "V12": "out of a contract's reach: what a validator does with the data",
}
"""Rows without a script, and why."""

CATALOGUE = [
    f"{letter}{i}" for letter, last in (("V", 12), ("W", 11), ("E", 14), ("C", 13)) for i in range(1, last + 1)
]
