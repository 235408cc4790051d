"""The loop: journal first, then effects; errors sorted by guilt; wishes for the time told once."""

import asyncio
from collections.abc import Callable

import pytest
import stamina

from tests import factories as f
from tests.factories import TASK_ID, N
from tests.unit.journal.scenario import IDENTITY, KEY
from validator.driver import ATTEMPTS, Driver
from validator.errors import Fatal, IllegalEvent, MinerFault, Transient
from validator.journal import Journal
from validator.protocol import effects as todo
from validator.protocol import events as facts
from validator.protocol.state import Phase, TaskState
from validator.types import UnixSeconds


@pytest.fixture(autouse=True)
def no_waiting():
    """Retries as often as in earnest, without the pauses."""
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", KEY, IDENTITY)
    yield journal
    journal.close()


class World:
    """An Executor whose chain and miner always answer at once, except where `act` says otherwise.

    `act(effect, attempt)` may raise, or return True to let the usual answer happen.
    """

    def __init__(self, journal: Journal, act: Callable[[todo.Effect, int], bool] = lambda _effect, _attempt: True):
        self.journal = journal
        self.act = act
        self.done: list[todo.Effect] = []
        self.attempts: dict[str, int] = {}
        self.opened = asyncio.Event()
        self.driver = Driver(journal, self, self.notice)

    def notice(self, state: TaskState) -> None:
        if state.phase is Phase.OPEN:
            self.opened.set()

    async def perform(self, effect: todo.Effect, state: TaskState) -> facts.Event | None:
        assert state.task_id == effect.task_id
        self.attempts[effect.key] = self.attempts.get(effect.key, 0) + 1
        if not self.act(effect, self.attempts[effect.key]):
            return None
        self.done.append(effect)
        match effect:
            case todo.OpenTask():
                self.driver.submit(f.OPENED)
            case todo.DeliverDataset():
                self.driver.submit(f.ACCEPTED)
                self.driver.submit(f.SUBMITTED)
                return f.DELIVERED
            case todo.LocateModel():
                return f.LOCATED
            case todo.SendProbe(ordinal=ordinal):
                return f.ANSWERS[ordinal]
            case todo.RequestTranscript():
                return f.SIGNED
            case todo.Challenge():
                self.driver.submit(f.CHALLENGED)
                self.driver.submit(f.ANSWERED)
            case todo.Settle() | todo.Poke():
                self.driver.submit(f.SETTLED)
                self.driver.submit(f.CLOSED)
        return None

    async def run(self) -> TaskState:
        self.driver.submit(f.PLANNED)
        await asyncio.wait_for(self.driver.run_until_closed(1), timeout=20)
        return self.driver.states[TASK_ID]

    def count(self, kind: type[todo.Effect]) -> int:
        return sum(isinstance(effect, kind) for effect in self.done)


async def test_a_task_runs_from_its_plan_to_its_end_and_is_journalled_whole(journal):
    world = World(journal)
    state = await world.run()
    assert (state.phase, state.outcome) == (Phase.CLOSED, "paid")
    assert world.count(todo.SendProbe) == N
    assert world.count(todo.OpenTask) == world.count(todo.Settle) == 1
    assert journal.replay() == world.driver.states


async def test_an_effect_is_in_the_journal_before_it_is_carried_out(journal):
    """P1, P3: the world looks into the journal at the moment of each act."""

    def act(effect, _attempt):
        assert effect in journal.unfinished_effects()
        return True

    await World(journal, act).run()


async def test_each_change_is_shown(journal):
    phases = []
    world = World(journal)
    world.driver = Driver(journal, world, lambda state: phases.append(state.phase))
    await world.run()
    assert list(dict.fromkeys(phases)) == [Phase.PLANNED, Phase.OPEN, Phase.ACCEPTED, Phase.SUBMITTED, Phase.CLOSED]


async def test_what_may_pass_is_tried_again(journal):
    """N15, R5."""

    def act(effect, attempt):
        if attempt < 3:
            raise Transient("the connection was lost")
        return True

    world = World(journal, act)
    assert (await world.run()).outcome == "paid"
    assert set(world.attempts.values()) == {3}


async def test_an_endpoint_that_stays_dead_is_no_fault_and_no_answer(journal):
    """N15: given up after the last attempt, nothing recorded against the miner; the deadline brings the challenge."""

    given_up = asyncio.Event()

    def act(effect, attempt):
        if effect == todo.SendProbe(TASK_ID, 3):
            if attempt == ATTEMPTS:
                given_up.set()
            raise Transient("timeout")
        return True

    world = World(journal, act)
    running = asyncio.create_task(world.run())
    await given_up.wait()
    world.driver.tell_time(UnixSeconds(f.SUBMITTED.at_s + 500))
    state = await running
    assert state.faults == ()
    assert world.count(todo.Challenge) == 1
    assert world.attempts[todo.SendProbe(TASK_ID, 3).key] == ATTEMPTS


async def test_a_miners_fault_becomes_an_event_and_is_not_tried_again(journal):
    """W2, N13."""

    def act(effect, _attempt):
        if isinstance(effect, todo.RequestTranscript):
            raise MinerFault("the signature is not hex")
        return True

    world = World(journal, act)
    state = await world.run()
    assert state.faults == ("the signature is not hex",)
    assert world.attempts[todo.RequestTranscript(TASK_ID).key] == 1
    assert world.count(todo.Challenge) == 1
    assert state.onchain_replies == f.REPLIES


@pytest.mark.parametrize("error", [Fatal("wrong chain"), IllegalEvent("our bug"), ZeroDivisionError("our bug")])
async def test_what_is_fatal_stops_the_loop_loudly_and_is_not_tried_again(journal, error):
    def act(effect, _attempt):
        if isinstance(effect, todo.DeliverDataset):
            raise error
        return True

    world = World(journal, act)
    with pytest.raises(BaseExceptionGroup) as stopped:
        await world.run()
    assert stopped.value.exceptions == (error,)
    assert world.attempts[todo.DeliverDataset(TASK_ID).key] == 1
    assert [type(event) for event in journal.events()] == [facts.TaskPlanned, facts.TaskOpened]


async def test_an_impossible_event_stops_the_loop_and_is_not_recorded(journal):
    world = World(journal, lambda _effect, _attempt: False)
    world.driver.submit(f.PLANNED)
    world.driver.submit(f.SETTLED)
    with pytest.raises(BaseExceptionGroup) as stopped:
        await world.driver.run_until_closed(1)
    assert [type(error) for error in stopped.value.exceptions] == [IllegalEvent]
    assert list(journal.events()) == [f.PLANNED]


async def test_a_task_that_wanted_to_know_the_time_is_told_once(journal):
    world = World(journal, lambda effect, _attempt: isinstance(effect, todo.OpenTask | todo.Poke))
    running = asyncio.create_task(world.run())
    await world.opened.wait()
    world.act = lambda _effect, _attempt: False
    deadline_s = f.OPENED.at_s + 3600
    for now_s in (f.OPENED.at_s, deadline_s, deadline_s + 1, deadline_s + 1, deadline_s + 60):
        world.driver.tell_time(UnixSeconds(now_s))
        await asyncio.sleep(0)
    world.driver.submit(f.CLOSED)
    await running
    told = [event for event in journal.events() if isinstance(event, facts.TimePassed)]
    assert told == [facts.TimePassed(TASK_ID, UnixSeconds(deadline_s + 1))]
    assert world.attempts[todo.Poke(TASK_ID, Phase.OPEN).key] == 1


async def test_the_time_told_together_with_the_end_of_a_task_is_harmless(journal):
    """After an outage both come in one poll: the closing event stands in the queue when the time is looked at."""
    world = World(journal, lambda effect, _attempt: isinstance(effect, todo.OpenTask))
    running = asyncio.create_task(world.run())
    await world.opened.wait()
    other = f.make_planned(1)
    world.driver.submit(f.CLOSED)
    world.driver.tell_time(UnixSeconds(f.OPENED.at_s + 4000))
    world.driver.submit(other)
    assert (await running).phase is Phase.CLOSED


async def test_a_driver_begins_with_what_the_journal_tells(journal):
    await World(journal).run()
    again = World(journal)
    assert again.driver.states[TASK_ID].phase is Phase.CLOSED
    await again.driver.run_until_closed(1)
    assert again.done == []
