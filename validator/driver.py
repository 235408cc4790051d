"""The loop: take an event, step, journal, run the effects, whose results are events again. The only caller of `step`.

Rules kept: nothing is done that is not in the journal; an effect that fails for a passing reason is tried again, one
that fails for good stops the loop loudly, and a miner's fault becomes an event like any other.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import stamina
import structlog

from validator.errors import Fatal, MinerFault, Transient
from validator.journal import Journal
from validator.protocol.effects import Effect, OpenTask
from validator.protocol.events import Event, MinerFaulted, TimePassed
from validator.protocol.machine import step
from validator.protocol.state import Phase, TaskState
from validator.telemetry import EFFECT_SECONDS, EFFECTS_GIVEN_UP, EVENTS, MINER_FAULTS
from validator.types import TaskId, UnixSeconds

ATTEMPTS = 12
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 15.0

log = structlog.get_logger(__name__)


class Executor(Protocol):
    """Carries effects out."""

    async def perform(self, effect: Effect, state: TaskState) -> Event | None:
        """Do it; the event that came of it, or None where the chain will tell."""


class Driver:
    """Runs every task of one journal. `on_change` is told each new state, for display."""

    def __init__(
        self, journal: Journal, executor: Executor, on_change: Callable[[TaskState], None] = lambda _state: None
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._on_change = on_change
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._woken: dict[TaskId, UnixSeconds] = {}
        self.states = journal.replay()

    def submit(self, event: Event) -> None:
        """Hand in a fact; it is processed in the order of arrival."""
        self._queue.put_nowait(event)

    def tell_time(self, now_s: UnixSeconds) -> None:
        """Wake the tasks that wanted to be told that chain time has come this far, once for each wish."""
        for state in self.states.values():
            wake_at_s = state.wake_at_s
            if wake_at_s is not None and now_s >= wake_at_s and self._woken.get(state.task_id) != wake_at_s:
                self._woken[state.task_id] = wake_at_s
                self.submit(TimePassed(state.task_id, now_s))

    async def run_until_closed(self, count: int) -> None:
        """Process events until `count` tasks are closed; whatever stops the loop for good is raised from here."""
        running = []
        async with asyncio.TaskGroup() as effects:
            while sum(state.phase is Phase.CLOSED for state in self.states.values()) < count:
                event = await self._queue.get()
                running += [
                    effects.create_task(self._perform(effect), name=effect.key) for effect in self._apply(event)
                ]
            for task in running:
                task.cancel()  # What is still being retried can change nothing any more.

    def _apply(self, event: Event) -> list[Effect]:
        state, effects = step(self.states.get(event.task_id), event)
        new = self._journal.record(event, effects)
        self.states[event.task_id] = state
        EVENTS.labels(type(event).__name__).inc()
        log.info("event", task="0x" + event.task_id.hex(), kind=type(event).__name__, phase=state.phase)
        self._on_change(state)
        return new

    async def _perform(self, effect: Effect) -> None:
        kind = type(effect).__name__
        try:
            with EFFECT_SECONDS.labels(kind).time():
                event = await self._try(effect)
        except MinerFault as fault:
            MINER_FAULTS.inc()
            event = MinerFaulted(effect.task_id, str(fault))
        except Transient as error:
            # Nobody's fault, and no evidence: the task's deadlines decide what comes of it.
            EFFECTS_GIVEN_UP.labels(kind).inc()
            log.warning("gave up", effect=effect.key, error=str(error))
            if isinstance(effect, OpenTask):
                raise Fatal(f"a task cannot be opened: {error}") from error  # Before it is open it has no deadline.
            self._woken.pop(effect.task_id, None)
            return
        self._journal.mark_done(effect.key)
        if event is not None:
            self.submit(event)

    async def _try(self, effect: Effect) -> Event | None:
        """Carry an effect out, again and again while what fails may pass; Transient once the attempts are used up."""

        @stamina.retry(
            on=Transient, attempts=ATTEMPTS, timeout=None, wait_initial=FIRST_WAIT_S, wait_max=LONGEST_WAIT_S
        )
        async def attempt() -> Event | None:
            return await self._executor.perform(effect, self.states[effect.task_id])

        return await attempt()
