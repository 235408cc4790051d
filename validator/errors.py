"""Errors, sorted by guilt, because what may be done next depends on whose fault it was.

    TouchstoneError
    ├── BadInput       the person at the keyboard: one clear line, exit status 2
    ├── MinerFault     the miner: evidence, never a reason to retry
    ├── Transient      nobody: bounded retry; never evidence against anybody
    │   ├── ChainUnreachable
    │   ├── NodeFault  one node of the chain: another may be better
    │   ├── QueueFull  so much waits to be sent that nothing new may
    │   └── DiskFull
    ├── Fatal          this machine or this node: stop loudly
    │   └── Reverted   the contract refused a call that we made; below it, by what the caller can do about it
    │       ├── WrongState      it is done already, or was ended: look at the chain
    │       ├── DeadlinePassed  leave it to the state's default
    │       ├── TooEarly        wait
    │       ├── AccountBusy     wait until the miner's running tasks have ended
    │       ├── Underfunded     deposit, stake, or ask for less
    │       ├── NotTheParty     use the key of the party that may
    │       ├── OrderRefused    ask for another Order or Offer
    │       ├── BadTerms        agree on others
    │       ├── BadEvidence     bring what the commitment, the dataset and the signer really are
    │       ├── BadCall         mend the caller: it can never succeed
    │       ├── SunsetPassed    use a newer contract
    │       └── WithoutReason   the ABI, the payable check, the lock, or the gas limit
    ├── Cancelled      we took our own transaction back: its deadline has passed
    └── IllegalEvent   our own bug: the state machine was told something impossible

Foreign exceptions are translated where they enter, in `validator/edges/`, `validator/miner/` and `miner_sim/`; which
refusal of the contract is which class stands in `validator/edges/refusals.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class TouchstoneError(Exception):
    """Root of everything that this project raises on purpose."""


class BadInput(TouchstoneError):
    """What the user gave cannot be used; the message says what and how to mend it."""


class MinerFault(TouchstoneError):
    """A miner sent something that the protocol does not allow."""


class Transient(TouchstoneError):
    """It may work the next time: a timeout, a lost connection, a busy server."""


class ChainUnreachable(Transient):
    """The node did not answer."""


class NodeFault(Transient):
    """A node answered as no node should: another one may be right, and so may this one in a while."""


class QueueFull(Transient):
    """So many transactions wait to be sent that no more are taken."""


class DiskFull(Transient):
    """There was no space for what was to be written; things are as they were before (K1)."""


class Fatal(TouchstoneError):
    """Going on could cost money: wrong chain, wrong contract, a broken invariant."""


class Reverted(Fatal):
    """The contract reverted; `reason` is its own message, of the form "module: reason".

    Of this class itself where the reason is none of the contract's that we know.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the contract refused: {reason}")
        self.reason = reason


class WrongState(Reverted):
    """The task or account is not in the state that the call needs: somebody was faster, or it has ended."""


class DeadlinePassed(Reverted):
    """The time to act in the task's state is over; `poke` brings the state's default."""


class TooEarly(Reverted):
    """A deadline or a delay is still running."""


class AccountBusy(Reverted):
    """The miner has accepted a task that is still running."""


class Underfunded(Reverted):
    """Credit or free stake is less than the call takes."""


class NotTheParty(Reverted):
    """The sender is not the one whom the terms or the network let make this call."""


class OrderRefused(Reverted):
    """The Order or Offer has expired, has been used or cancelled, or does not cover the terms."""


class BadTerms(Reverted):
    """The terms, or the parameters of a new network, are not such as the contract takes, now or ever."""


class BadEvidence(Reverted):
    """Commitment, rows, leaves, replies, proofs, verdicts or a signature do not fit the task or each other."""


class BadCall(Reverted):
    """An argument that makes no sense, whatever the state."""


class SunsetPassed(Reverted):
    """The guardian has stopped new tasks for ever."""


class WithoutReason(Reverted):
    """No words came with the refusal: the ABI decoder, the payable check, the re-entrancy lock, or too little gas."""


class Cancelled(TouchstoneError):
    """A transaction was not mined by its deadline, and now never will be."""


class IllegalEvent(TouchstoneError):
    """An event that the current phase does not allow; nothing was changed."""


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside nested groups: the one that made the others be cancelled."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def first_problem(problems: Sequence[Mapping[str, Any]]) -> str:
    """The first of a pydantic `ValidationError.errors()` as "place: message"."""
    place = ".".join(str(part) for part in problems[0]["loc"])
    message = str(problems[0]["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
