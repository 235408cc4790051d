"""Plays what a store lacks of a plan: as many rounds at a time as it may, each committed when it ends.

Rule kept: a round that fails stands in nobody's way. It is noted with its reason, and played again by the next run.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from validator.errors import TouchstoneError
from validator.model_work import ModelWork
from validator.tournament.rounds import Played, Round
from validator.tournament.store import Store
from validator.tournament.worker import limits, play


class Watcher(Protocol):
    """Who is told how it goes."""

    def done(self, ended: Round, played: Played, /) -> None: ...

    def failed(self, ended: Round, reason: str, /) -> None: ...


@dataclass
class Campaign:
    """One run over a store; `done` and `failed` count this run's rounds."""

    store: Store
    work: ModelWork
    round_limit_s: float
    watcher: Watcher
    may_start: Callable[[], bool] = lambda: True
    """Asked before each round; those in flight end as ever."""
    done: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)

    async def play(self, rounds: Sequence[Round], at_once: int) -> None:
        """Every one of the rounds, `at_once` at a time; cancelled, it ends those in flight without a trace."""
        waiting = iter(rounds)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._play_from(waiting))

    async def _play_from(self, waiting: Iterator[Round]) -> None:
        while self.may_start() and (next_round := next(waiting, None)) is not None:
            await self._play_one(next_round)

    async def _play_one(self, wanted: Round) -> None:
        try:
            played = await self.work.run(play, wanted.canonical, self.round_limit_s, limits=limits(self.round_limit_s))
        except TouchstoneError as error:
            reason = " ".join(str(error).split())
            self.store.add_failed(wanted, reason)
            self.failed += 1
            self.watcher.failed(wanted, reason)
            return
        self.store.add_done(wanted, played)
        self.done += 1
        self.watcher.done(wanted, played)


def parse_until(text: str, now_s: float | None = None) -> float:
    """The next time, local, that a clock shows HH:MM, in Unix seconds; ValueError if that is no time."""
    wanted = time.strptime(text, "%H:%M")
    now_s = time.time() if now_s is None else now_s
    today = time.localtime(now_s)
    for day in (today.tm_mday, today.tm_mday + 1):
        found_s = time.mktime((*today[:2], day, wanted.tm_hour, wanted.tm_min, 0, 0, 0, -1))
        if found_s > now_s:
            break
    return found_s
