"""The loop: journal first, then effects; errors sorted by guilt; wishes for the time told once."""

import asyncio
from collections.abc import Callable

import pytest
import stamina

from tests import factories as f
from tests.factories import TASK_ID, N
from tests.unit.journal.scenario import IDENTITY, KEY
from validator.driver import Driver
from validator.errors import BadEvidence, BadInput, Fatal, IllegalEvent, MinerFault, OrderRefused, Transient
from validator.journal import Journal
from validator.protocol import effects as todo
from validator.protocol import events as facts
from validator.protocol.state import Phase, TaskState
from validator.types import UnixSeconds


@pytest.fixture(autouse=True)
def no_waiting():
    """Retries as often as in earnest, without the pauses."""
    with stamina.set_testing(True, attempts=1_000):
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
            case todo.WriteBundle(phase=phase):
                return facts.BundleWritten(TASK_ID, phase, f.digest("bundle"))
            case todo.Settle() | todo.Poke():
                self.driver.submit(f.SETTLED)
                self.driver.submit(f.CLOSED)
        return None

    async def run(self, *events: facts.Event) -> TaskState:
        """Until the task is closed, or the loop stops with an error."""
        for event in events or (f.PLANNED,):
            self.driver.submit(event)
        running, closed = asyncio.create_task(self.driver.run()), asyncio.create_task(self.driver.closed({TASK_ID}))
        async with asyncio.timeout(20):
            await asyncio.wait({running, closed}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        if running.done():
            closed.cancel()
            running.result()
        await self.driver.drained()
        running.cancel()
        await asyncio.wait({running})
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
    """N15, complaints 6 and 7: tried until the deadline brings the challenge, and nothing is held against the miner."""
    tried_often = asyncio.Event()

    def act(effect, attempt):
        if effect == todo.SendProbe(TASK_ID, 3):
            if attempt == 50:
                tried_often.set()
            raise Transient("timeout")
        return True

    world = World(journal, act)
    running = asyncio.create_task(world.run())
    await tried_often.wait()
    world.driver.tell_time(UnixSeconds(f.SUBMITTED.at_s + 500))
    state = await running
    assert state.faults == ()
    assert state.outcome == "paid"
    assert world.count(todo.Challenge) == 1


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
    with pytest.raises(BaseExceptionGroup) as stopped:
        await world.run(f.PLANNED, f.SETTLED)
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
    """Complaint 1: a restart loses nothing and repeats nothing."""
    await World(journal).run()
    again = World(journal)
    assert again.driver.states[TASK_ID].phase is Phase.CLOSED
    running = asyncio.create_task(again.driver.run())
    await again.driver.drained()
    running.cancel()
    assert again.done == []


async def test_what_was_begun_is_carried_out_after_a_restart_before_anything_new(journal):
    """P1: the effect is in the journal and was not done."""
    journal.record(f.PLANNED, [todo.OpenTask(TASK_ID)])
    world = World(journal)
    running = asyncio.create_task(world.driver.run())
    async with asyncio.timeout(20):
        await world.driver.closed({TASK_ID})
    running.cancel()
    assert world.driver.states[TASK_ID].outcome == "paid"


async def test_a_fact_of_the_chain_that_comes_twice_is_recorded_once(journal):
    """C12: logs are read again with an overlap, also after a restart."""
    world = World(journal, lambda effect, _attempt: isinstance(effect, todo.OpenTask))
    running = asyncio.create_task(world.driver.run())
    world.driver.submit(f.PLANNED)
    await world.opened.wait()
    world.driver.submit(f.OPENED)
    await world.driver.drained()
    running.cancel()
    again = World(journal, lambda _effect, _attempt: False)
    running = asyncio.create_task(again.driver.run())
    again.driver.submit(f.OPENED)
    await again.driver.drained()
    running.cancel()
    assert list(journal.events()) == [f.PLANNED, f.OPENED]


async def test_a_task_that_the_contract_does_not_open_is_over_and_nothing_has_moved(journal):
    def act(effect, _attempt):
        raise OrderRefused("order: nonce used")

    state = await World(journal, act).run()
    assert (state.phase, state.outcome) == (Phase.CLOSED, "not opened")
    assert "order: nonce used" in state.faults[0]


async def test_a_miner_that_nobody_can_go_to_is_found_out_before_its_task_is_open(journal):
    def act(effect, _attempt):
        raise MinerFault("the URL is refused")

    state = await World(journal, act).run()
    assert (state.outcome, state.faults) == ("not opened", ("the URL is refused",))


async def test_what_one_tasks_contract_refuses_stops_no_other_and_is_shown(journal):
    """An operator sees it, and once the cause is gone the effect goes through."""

    def act(effect, attempt):
        if isinstance(effect, todo.Settle) and attempt < 4:
            assert attempt == 1 or "proof" in world.driver.refusals[effect.key]
            raise BadEvidence("settle: bad proof")
        return True

    world = World(journal, act)
    assert (await world.run()).outcome == "paid"
    assert world.driver.refusals == {}


async def test_data_that_cannot_be_used_is_one_tasks_trouble_until_it_is_mended(journal):
    """K4: a damaged dataset keeps its task waiting, and shows; the loop goes on."""

    def act(effect, attempt):
        if isinstance(effect, todo.DeliverDataset) and attempt < 4:
            raise BadInput("the dataset is damaged")
        return True

    world = World(journal, act)
    assert (await world.run()).outcome == "paid"
    assert world.driver.refusals == {}


async def test_a_full_disk_is_waited_out_and_room_is_made(journal):
    """K1: no effect follows what is not written; the loop goes on when there is space, without a restart."""
    connection = journal._store.connection

    def limit(pages):
        with connection.begin():
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    made_room = []

    def make_room():
        made_room.append(list(journal.events()))
        limit(2**20)

    def fill(effect, _attempt):
        if isinstance(effect, todo.DeliverDataset):
            limit(1)  # As many as there are.
        return True

    world = World(journal, fill)
    world.driver = Driver(journal, world, world.notice, make_room)
    assert (await world.run()).outcome == "paid"
    assert len(made_room) == 1
    assert journal.replay() == world.driver.states


async def test_what_was_said_in_a_task_that_has_ended_is_forgotten_and_the_rest_is_not(journal):
    world = World(journal)
    world.driver = Driver(journal, world, world.notice, keeps_replies=False)
    state = await world.run()
    assert (state.answers, state.signature) == ((), None)
    assert (state.outcome, state.hits, state.terms) == ("paid", 15, f.PLANNED.terms)
    assert Driver(journal, world, keeps_replies=False).states == world.driver.states
    assert journal.replay()[TASK_ID].is_probed
