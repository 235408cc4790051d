"""`python -m miner_sim`: simulated miners, from one JSON line on stdin until SIGTERM, SIGINT or the end of stdin.

Prints {"ready": [{"name", "address", "url"}]} once all miners serve, and then, if the line asks for it,
{"working": bool} whenever the first piece of work, a child's or a transaction, begins and the last has ended. Exit
status 0 after an orderly end, 2 for bad input or an unreachable chain, 1 for anything else.

Rule kept: the end of stdin counts as a signal, so the miners never outlive whoever started them.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

from miner_sim.config import FleetConfig, parse_config
from miner_sim.fleet import running_fleet
from miner_sim.workers import CHILD_ENVIRONMENT
from validator.errors import BadInput, ChainUnreachable, TouchstoneError


async def run(config: FleetConfig) -> None:
    """Run the miners until this process is told to end."""
    loop = asyncio.get_running_loop()
    this_task = asyncio.current_task()
    assert this_task is not None  # noqa: S101 - a coroutine always runs in a task
    is_ending = False

    def end() -> None:
        nonlocal is_ending
        if not is_ending:  # a second Ctrl-C must not interrupt the clean-up
            is_ending = True
            this_task.cancel()

    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, end)
    threading.Thread(target=_wait_for_stdin_to_end, args=(loop, end), daemon=True).start()
    try:
        async with running_fleet(config, _tell_work if config.tells_work else _tell_nothing) as miners:
            print(json.dumps({"ready": [asdict(miner) for miner in miners]}), flush=True)
            await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        if not is_ending:
            raise


def _tell_work(is_working: bool) -> None:
    print(json.dumps({"working": is_working}), flush=True)


def _tell_nothing(_is_working: bool) -> None:
    """Whoever reads no more than the first line would fill the pipe."""


def _wait_for_stdin_to_end(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with suppress(RuntimeError):  # the loop has ended first
        loop.call_soon_threadsafe(end)


def main() -> int:
    os.environ.update(CHILD_ENVIRONMENT)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        asyncio.run(run(parse_config(sys.stdin.buffer.readline())))
    except (BadInput, ChainUnreachable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TouchstoneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
