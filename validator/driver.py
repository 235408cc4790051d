"""The loop: take an event, step, journal, run the effects, whose results are events again. The only caller of `step`.

Rules kept: nothing is done that is not in the journal, and what an effect brought is written in the transaction that
marks it as done; an effect is tried again until it is done or moot, restarts included; a miner's fault becomes an event
like any other; what one task cannot do delays no other, and only what is fatal to all stops the loop, loudly.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol, get_args

import stamina
import structlog

from validator.errors import BadInput, DiskFull, MinerFault, Reverted, Transient
from validator.journal import Journal
from validator.protocol.effects import (
    DeliverDataset,
    Effect,
    FetchWeights,
    LocateModel,
    OpenTask,
    ProbeWeights,
    RequestTranscript,
    SendProbe,
)
from validator.protocol.events import (
    ChainFact,
    Event,
    MinerFaulted,
    OpeningFailed,
    TaskSettled,
    TimePassed,
    WeightsFaulted,
)
from validator.protocol.machine import is_moot, step
from validator.protocol.state import Phase, TaskState
from validator.protocol.verdict import Thresholds, Zone
from validator.telemetry import (
    EFFECT_SECONDS,
    EFFECTS_REFUSED,
    EVENTS,
    FEES_EARNED_WEI,
    HITS,
    MINER_FAULTS,
    VERDICTS,
)
from validator.types import EffectKey, Hash32, TaskId, UnixSeconds

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 15.0
DISK_WAIT_S = 1.0
MAY_PASS = (Transient, Reverted, BadInput)
_WAITS_FOR_MINERS = {
    kind.__name__ for kind in (DeliverDataset, LocateModel, SendProbe, RequestTranscript, FetchWeights)
}

log = structlog.get_logger(__name__)

for _effect in get_args(Effect):
    EFFECTS_REFUSED.labels(_effect.__name__)
for _zone in Zone:
    VERDICTS.labels(_zone)


class Executor(Protocol):
    """Carries effects out."""

    async def perform(self, effect: Effect, state: TaskState) -> Event | None:
        """Do it; the event that came of it, or None where the chain will tell."""


class Driver:
    """Runs every task of one journal. `on_change` is told each new state; `on_disk_full` may make room."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        on_change: Callable[[TaskState], None] = lambda _state: None,
        on_disk_full: Callable[[], None] = lambda: None,
        *,
        keeps_replies: bool = True,
    ) -> None:
        """Unless `keeps_replies`, what was said in a task is forgotten at its end: memory must not grow with it."""
        self._journal = journal
        self._executor = executor
        self._on_change = on_change
        self._on_disk_full = on_disk_full
        self._keeps_replies = keeps_replies
        self._queue: asyncio.Queue[tuple[Event, EffectKey | None] | asyncio.Future[None]] = asyncio.Queue()
        self._woken: dict[TaskId, UnixSeconds] = {}
        self._changed = asyncio.Event()
        self.states: dict[TaskId, TaskState] = {}
        self.running: dict[EffectKey, float] = {}
        """What is being carried out, and since when, in the loop's time."""
        self.refusals: dict[EffectKey, str] = {}
        """What the contract refuses although the task is as it should be: an operator must look."""
        self._seen: dict[TaskId, set[tuple[type[Event], Hash32]]] = {}
        for event in journal.events():
            self.states[event.task_id] = step(self.states.get(event.task_id), event)[0]
            self._remember(event)
        self._active = Counter(effect.task_id for effect in journal.unfinished_effects())
        for task_id in self.states:
            self._forget_replies(task_id)

    def oldest_effect_age_s(self) -> float:
        """Since when the oldest effect is being carried out that waits for nobody but ourselves and the chain."""
        ours = (since_s for key, since_s in self.running.items() if key.split("/")[1] not in _WAITS_FOR_MINERS)
        now_s = asyncio.get_running_loop().time()
        return max((now_s - since_s for since_s in ours), default=0.0)

    def submit(self, event: Event) -> None:
        """Hand in a fact; it is processed in the order of arrival. A fact of the chain may come more than once."""
        self._queue.put_nowait((event, None))

    async def drained(self) -> None:
        """Until everything that was submitted before is in the journal."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(reached)
        await reached

    async def closed(self, task_ids: set[TaskId]) -> None:
        """Until all of these tasks are closed."""
        while any(self.states[task_id].phase is not Phase.CLOSED for task_id in task_ids & self.states.keys()) or (
            task_ids - self.states.keys()
        ):
            self._changed.clear()
            await self._changed.wait()

    def tell_time(self, now_s: UnixSeconds) -> None:
        """Wake the tasks that wanted to be told that chain time has come this far, once for each wish."""
        for state in self.states.values():
            wake_at_s = state.wake_at_s
            if wake_at_s is not None and now_s >= wake_at_s and self._woken.get(state.task_id) != wake_at_s:
                self._woken[state.task_id] = wake_at_s
                self.submit(TimePassed(state.task_id, now_s))

    async def run(self) -> None:
        """Take up what a former process left, and process events for ever; cancel to stop.

        Whatever stops the loop for good is raised from here, in a group.
        """
        async with asyncio.TaskGroup() as group:

            def start(effect: Effect) -> None:
                group.create_task(self._perform(effect), name=effect.key)

            for effect in self._journal.unfinished_effects():
                start(effect)
            while True:
                item = await self._queue.get()
                if isinstance(item, asyncio.Future):
                    item.set_result(None)
                else:
                    for effect in await self._apply(*item):
                        start(effect)

    async def _apply(self, event: Event, done: EffectKey | None) -> list[Effect]:
        known = self.states.get(event.task_id)
        if isinstance(event, ChainFact) and (type(event), event.tx_hash) in self._seen.get(event.task_id, ()):
            return []
        state, effects = step(known, event)
        while True:
            try:
                new = self._journal.record(event, effects, done=done)
                break
            except DiskFull as error:
                log.error("waiting for disk space", error=str(error))
                self._on_disk_full()
                await asyncio.sleep(DISK_WAIT_S)
        self.states[event.task_id] = state
        self._remember(event)
        self._active.update([event.task_id] * len(new))
        if done is not None:
            self._active[event.task_id] -= 1
        self._forget_replies(event.task_id)
        _count(event, state)
        log.info("event", task="0x" + event.task_id.hex(), kind=type(event).__name__, phase=state.phase)
        self._changed.set()
        self._on_change(state)
        return new

    def _remember(self, event: Event) -> None:
        if isinstance(event, ChainFact):
            self._seen.setdefault(event.task_id, set()).add((type(event), event.tx_hash))

    def _forget_replies(self, task_id: TaskId) -> None:
        state = self.states[task_id]
        if not self._keeps_replies and state.phase is Phase.CLOSED and not self._active[task_id]:
            self.states[task_id] = state.without_replies()
            del self._active[task_id]

    async def _perform(self, effect: Effect) -> None:
        """Until it is done or moot; what comes of it goes into the queue, to be journalled with its being done."""
        kind = type(effect).__name__
        self.running[effect.key] = asyncio.get_running_loop().time()
        try:
            with EFFECT_SECONDS.labels(kind).time():
                event = await self._try(effect)
        except MinerFault as fault:
            MINER_FAULTS.inc()
            event = _blame(effect, str(fault))
        finally:
            del self.running[effect.key]
            self.refusals.pop(effect.key, None)
        if event is not None:
            self._queue.put_nowait((event, effect.key))
            return
        while True:
            try:
                self._journal.mark_done(effect.key)
                break
            except DiskFull:
                self._on_disk_full()
                await asyncio.sleep(DISK_WAIT_S)
        self._active[effect.task_id] -= 1
        self._forget_replies(effect.task_id)

    async def _try(self, effect: Effect) -> Event | None:
        async for attempt in stamina.retry_context(
            on=MAY_PASS,
            attempts=None,
            timeout=None,
            wait_initial=FIRST_WAIT_S,
            wait_max=LONGEST_WAIT_S,
        ):
            with attempt:
                state = self.states[effect.task_id]
                if is_moot(state, effect):
                    log.info("moot", effect=effect.key, phase=state.phase)
                    return None
                try:
                    return await self._executor.perform(effect, state)
                except Reverted as refusal:
                    if isinstance(effect, OpenTask):
                        return OpeningFailed(effect.task_id, str(refusal))
                    EFFECTS_REFUSED.labels(type(effect).__name__).inc()
                    self.refusals[effect.key] = str(refusal)
                    log.error("the contract refuses", effect=effect.key, reason=str(refusal))
                    raise
                except BadInput as obstacle:
                    # Its data or its model cannot be used as they lie here: this task's trouble, until it is mended.
                    self.refusals[effect.key] = str(obstacle)
                    log.error("cannot go on", effect=effect.key, reason=str(obstacle))
                    raise
        raise AssertionError("stamina tries for ever")


def _count(event: Event, state: TaskState) -> None:
    EVENTS.labels(type(event).__name__).inc()
    if isinstance(event, TaskSettled):
        terms = state.terms
        VERDICTS.labels(Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing).zone(event.hits)).inc()
        HITS.observe(event.hits)
        FEES_EARNED_WEI.inc(terms.fee)


def _blame(effect: Effect, reason: str) -> Event:
    """What a miner's fault is, by what it was asked for."""
    match effect:
        case OpenTask():
            return OpeningFailed(effect.task_id, reason)
        case FetchWeights() | ProbeWeights():
            return WeightsFaulted(effect.task_id, reason)
    return MinerFaulted(effect.task_id, reason)
