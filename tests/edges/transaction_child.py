"""A validator's process that sends two transactions, and kills itself at a step that it is given."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.edges.test_transactions import EFFECTS, GAS_LIMITS, PAYEE, SIGNER, SLOW, open_journal
from validator.edges.chain import Chain
from validator.edges.transactions import TransactionManager


class Killer:
    """Passes everything on to `target`, and ends the process before or after the first call of `step`."""

    def __init__(self, target: Any, step: str, moment: str) -> None:
        self._target, self._step, self._moment = target, step, moment

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name != self._step:
            return method

        def kill() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        async def call_later(*arguments: Any) -> Any:
            if self._moment == "before":
                kill()
            await method(*arguments)
            kill()

        def call(*arguments: Any) -> Any:
            if self._moment == "before":
                kill()
            method(*arguments)
            kill()

        return call_later if asyncio.iscoroutinefunction(method) else call


async def main(url: str, path: str, step: str = "", moment: str = "") -> None:
    chain, journal = await Chain.connect(url), open_journal(Path(path))
    manager = TransactionManager(
        Killer(chain, step, moment),  # type: ignore[arg-type]  # it is one in all but name
        SIGNER,
        Killer(journal.transactions, step, moment),
        stop=journal.stop,
        gas_limits=GAS_LIMITS,
        fee_limits=SLOW,
        finality_depth=2,
    )
    running = asyncio.create_task(manager.run())
    await asyncio.gather(*(manager.sender(effect.key).send(PAYEE, value_wei=5) for effect in EFFECTS[:2]))
    running.cancel()
    await chain.aclose()
    journal.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
