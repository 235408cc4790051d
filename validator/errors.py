"""Errors, sorted by guilt, because what may be done next depends on whose fault it was.

    TouchstoneError
    ├── BadInput       the person at the keyboard: one clear line, exit status 2
    ├── MinerFault     the miner: evidence, never a reason to retry
    ├── Transient      nobody: bounded retry; never evidence against anybody
    │   └── ChainUnreachable
    ├── Fatal          this machine or this node: stop loudly
    │   └── Reverted   the contract refused a call that we made
    └── IllegalEvent   our own bug: the state machine was told something impossible

Foreign exceptions are translated where they enter, in `validator/edges/` and `miner_sim/`.
"""


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


class Fatal(TouchstoneError):
    """Going on could cost money: wrong chain, wrong contract, a broken invariant."""


class Reverted(Fatal):
    """The contract reverted; `reason` is its own message, of the form "module: reason"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the contract refused: {reason}")
        self.reason = reason


class IllegalEvent(TouchstoneError):
    """An event that the current phase does not allow; nothing was changed."""


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside nested groups: the one that made the others be cancelled."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
