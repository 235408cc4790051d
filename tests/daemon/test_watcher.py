"""What happens on chain reaches the driver: all of it, once it is final, whatever the nodes tell or leave out."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests import factories as f
from tests.daemon import virtual_time
from tests.daemon.memory_miner import Behaviour
from tests.daemon.memory_node import MemoryNode
from tests.daemon.memory_rpc import Honest, Wire, open_chain
from tests.daemon.scenarios import Reorganisation
from tests.daemon.world import SEED, World
from tests.edges.conftest import connected
from tests.edges.fault_proxy import faulty
from validator import watcher as watcher_module
from validator.driver import Driver
from validator.edges import rpc_node
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import TaskStatus, Touchstone
from validator.edges.devnet import embedded_node
from validator.edges.keys import dev_mnemonic_signer
from validator.errors import BadInput, ChainUnreachable, Fatal
from validator.history import check_history
from validator.journal import Identity, Journal
from validator.journal.tables import Cursor
from validator.marks.secrets import derive_journal_key
from validator.miner_directory import MinerDirectory
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.state import Phase, TaskState
from validator.types import BlockNumber
from validator.watcher import ChainWatcher

BEHAVIOURS = {
    TaskStatus.PAID: Behaviour(),
    TaskStatus.REFUNDED: Behaviour(hit_share=0.5),
    TaskStatus.SLASHED: Behaviour(hit_share=0.0),
    TaskStatus.MINER_LAPSED: Behaviour(answers_probes=False, answers_challenges=False),
}


@dataclass
class Liar(Wire):
    """What the validator hears of a node: everything as it is, but for what a test makes of it."""

    node: MemoryNode
    queries: list[Mapping[str, Any]] = field(default_factory=list)

    def answer(self, method: str, params: Sequence[Any], honest: Honest) -> dict[str, Any]:
        if method == "eth_getLogs":
            self.queries.append(params[0])
        return honest(params)


@dataclass
class Forgetful(Liar):
    """Leaves out three logs of ten."""

    dice: random.Random = field(default_factory=random.Random)
    dropped: int = 0

    def answer(self, method: str, params: Sequence[Any], honest: Honest) -> dict[str, Any]:
        answer = super().answer(method, params, honest)
        if method == "eth_getLogs":
            kept = [entry for entry in answer["result"] if self.dice.random() >= 0.3]
            self.dropped += len(answer["result"]) - len(kept)
            answer["result"] = kept
        return answer


@dataclass
class Flipping(Liar):
    """Two machines behind a load balancer, of which one is five blocks behind."""

    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def answer(self, method: str, params: Sequence[Any], honest: Honest) -> dict[str, Any]:
        if method == "eth_getBlockByNumber" and params[0] == "latest" and self.dice.random() < 0.5:
            params = [hex(max(0, self.node.head.number - 5)), *params[1:]]
        return super().answer(method, params, honest)


class Killed(Exception):
    """The end of a validator's process."""


class Outage(Wire):
    """Nothing gets through for a while."""

    def __init__(self, clock: virtual_time.Clock, from_s: float, until_s: float) -> None:
        self.clock, self.from_s, self.until_s = clock, from_s, until_s

    def before(self, what: str, _content: Any) -> None:
        if what.startswith("eth_") and self.from_s <= self.clock.now_s < self.until_s:
            raise ChainUnreachable("no answer")


def live(directory: Path, *behaviours: Behaviour, view: type[Liar] = Liar, **options: Any) -> tuple[World, Any]:
    """One life of a validator that sees the world through `view`; the world afterwards, and the view."""
    clock = virtual_time.Clock()

    async def main() -> tuple[World, Any]:
        world = await World.create(behaviours or (Behaviour(),), directory, clock, Wire())
        seen = view(world.node, **options)
        world.wire = seen  # The miners keep theirs.
        (await world.live()).close()
        return world, seen

    return virtual_time.run(main(), clock)


async def outcomes(world: World) -> list[TaskStatus]:
    return [(await world.contract.task_state(task.task_id)).status for task in world.tasks]


def open_journal(world: World, **options: Any) -> Journal:
    identity = Identity(world.node.chain_id, world.contract.address, world.validator.address)
    return Journal(world.directory / "validator" / "journal.sqlite", derive_journal_key(SEED), identity, **options)


def missed() -> float:
    return REGISTRY.get_sample_value("touchstone_chain_events_missed_total") or 0.0


@pytest.mark.parametrize("seed", range(8))
def test_every_task_ends_although_three_events_of_ten_are_lost(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: and it ends as it should, for what the contract's storage says is looked for again."""
    monkeypatch.setattr(watcher_module, "AUDIT_EVERY_S", 2.0)
    before = missed()
    world, seen = live(tmp_path, *BEHAVIOURS.values(), view=Forgetful, dice=random.Random(seed))
    assert virtual_time.run(outcomes(world)) == list(BEHAVIOURS)
    assert all(state.phase is Phase.CLOSED for state in world.states.values())
    assert seen.dropped > 0
    assert missed() > before


def test_nothing_is_looked_for_again_where_nothing_is_lost(tmp_path: Path) -> None:
    """C12: the contract's storage and its events say the same, at any final block."""
    before = missed()
    world, seen = live(tmp_path, *BEHAVIOURS.values())
    assert virtual_time.run(outcomes(world)) == list(BEHAVIOURS)
    assert missed() == before
    assert not any(query["topics"][1:] for query in seen.queries)


def test_a_final_height_that_goes_back_is_ignored(tmp_path: Path) -> None:
    """R2."""
    world, _ = live(tmp_path, view=Flipping)
    assert virtual_time.run(outcomes(world)) == [TaskStatus.PAID]
    journal = open_journal(world)
    cursor = journal.cursor()
    assert cursor is not None
    assert journal.stop_reason is None
    journal.close()


def test_a_restart_goes_on_where_the_journal_was_left(tmp_path: Path) -> None:
    """P1: what is recorded is not asked for again, but for who has registered; and what came meanwhile is."""
    clock = virtual_time.Clock()

    async def main() -> None:
        world = await World.create([Behaviour(training_s=5.0)], tmp_path, clock, Wire())
        node = world.node
        first = Liar(node)
        world.wire = first

        def die(state: Any) -> None:
            if state.phase is Phase.ACCEPTED:
                raise Killed

        world.on_change = die
        with pytest.raises(Killed):
            await world.live()
        await world.be_without_validator(8.0)
        world.move_to(move(tmp_path))
        world.on_change = lambda _state: None
        second = Liar(node)
        world.wire = second
        journal = open_journal(world)
        cursor = journal.cursor()
        journal.close()
        assert cursor is not None
        (await world.live()).close()
        assert [status.name for status in await outcomes(world)] == ["PAID"]
        deliveries = [int(query["fromBlock"], 16) for query in second.queries if not query["topics"]]
        assert deliveries[0] == cursor.block_number + 1
        assert deliveries == sorted(deliveries)
        registrations = [query for query in second.queries if query["topics"]]
        assert [int(query["toBlock"], 16) for query in registrations] == [cursor.block_number]

    virtual_time.run(main(), clock)


def move(directory: Path) -> Path:
    after = directory / "after"
    after.mkdir()
    return after


def test_an_outage_of_the_node_ends_nothing(tmp_path: Path) -> None:
    """Complaints 3 and 4: it neither dies nor stands still afterwards."""
    clock = virtual_time.Clock()

    async def main() -> World:
        world = await World.create([Behaviour(training_s=1e9)], tmp_path, clock, Outage(clock, 8.0, 408.0))
        (await world.live()).close()
        return world

    world = virtual_time.run(main(), clock)
    assert virtual_time.run(outcomes(world)) == [TaskStatus.MINER_LAPSED]


@pytest.mark.parametrize("fact", ["TaskOpened", "TaskAccepted"])
def test_a_chain_that_takes_back_what_was_final_stops_the_validator(tmp_path: Path, fact: str) -> None:
    """C2: nothing more is sent, restarts included."""
    clock = virtual_time.Clock()

    async def main() -> World:
        world = await World.create([Behaviour()], tmp_path, clock, Wire())
        trouble = Reorganisation(fact, age=(world.profile.finality_depth or 0) + 1, keeps_transactions=False)
        world.after_block = lambda: trouble.after_block(world)
        with pytest.raises(Fatal, match="has taken back block"):
            await world.live()
        sent = world.node.next_nonce(world.validator.address)
        await world.be_without_validator(5.0)
        assert world.node.next_nonce(world.validator.address) == sent
        return world

    world = virtual_time.run(main(), clock)
    assert "TaskSettled" not in [name for name, _task_id in world.node.facts()]
    after = move(tmp_path)
    world.move_to(after)
    with pytest.raises(BadInput, match="has taken back block"):
        open_journal(world)
    journal = open_journal(world, despite_stop=True)
    assert journal.cursor() is not None
    with pytest.raises(Fatal):
        journal.move_cursor(Cursor(0, b""))  # type: ignore[arg-type]
    journal.close()


def test_an_empty_journal_of_a_key_that_was_at_work_is_not_taken_for_its_history(tmp_path: Path) -> None:
    """P9."""
    world, _ = live(tmp_path)
    identity = Identity(world.node.chain_id, world.contract.address, world.validator.address)
    whole, empty = open_journal(world), Journal(tmp_path / "empty.sqlite", bytes(32), identity)

    async def check() -> None:
        await check_history(whole, world.contract, world.validator.address)
        await check_history(empty, world.contract, world.payer.address)
        await check_history(empty, world.contract, world.validator.address, is_lost=True)
        with pytest.raises(BadInput, match=r"has opened 1 tasks .* or say --history-is-lost"):
            await check_history(empty, world.contract, world.validator.address)

    virtual_time.run(check())
    whole.close()
    empty.close()


def test_who_has_registered_is_known_from_the_contracts_first_block_on(tmp_path: Path) -> None:
    """Before the cursor by a scan of its own, after it as it happens; and an outage costs no restart."""
    clock = virtual_time.Clock()

    async def main() -> None:
        world = await World.create([Behaviour(), Behaviour()], tmp_path, clock, Wire())
        miners, last = MinerDirectory(), BlockNumber(world.node.head.number)
        chain = await open_chain(world.node, Outage(clock, 1.0, 100.0))
        await asyncio.sleep(1)
        scan = asyncio.create_task(miners.scan(Touchstone(chain, world.contract.address), BlockNumber(0), last))
        await asyncio.sleep(90)
        assert not miners.is_complete
        assert miners.addresses() == []
        await asyncio.wait_for(scan, 60)
        assert miners.is_complete
        assert miners.addresses() == [miner.signer.address for miner in world.miners]
        assert len(miners.addresses()) == 2
        await chain.aclose()

    virtual_time.run(main(), clock)


class Idle:
    """An executor for whom every effect takes for ever."""

    async def perform(self, _effect: Effect, _state: TaskState) -> Event | None:
        await asyncio.Event().wait()
        return None


class Polls:
    """Who is told of the watcher's looks."""

    def __init__(self) -> None:
        self.were_new: list[bool] = []
        self._happened = asyncio.Event()

    def __call__(self, *, is_new: bool) -> None:
        self.were_new.append(is_new)
        self._happened.set()

    async def more(self, count: int) -> None:
        """Until the watcher has looked so many times more."""
        wanted = len(self.were_new) + count
        async with asyncio.timeout(30):
            while len(self.were_new) < wanted:
                self._happened.clear()
                await self._happened.wait()


@asynccontextmanager
async def watching(chain: Chain, directory: Path, finality_depth: int | None) -> AsyncIterator[tuple[Any, Any, Polls]]:
    """A watcher and a driver without tasks, running; the watcher, its journal, and its looks."""
    journal = Journal(directory / "journal.sqlite", bytes(32), Identity(31337, f.CONTRACT, f.VALIDATOR))
    driver, polls = Driver(journal, Idle()), Polls()
    watcher = ChainWatcher(
        chain,
        Touchstone(chain, f.CONTRACT),
        driver,
        journal,
        start=BlockNumber(0),
        finality_depth=finality_depth,
        head_polled=polls,
    )
    running = [asyncio.create_task(driver.run()), asyncio.create_task(watcher.run())]
    await polls.more(1)
    yield watcher, journal, polls
    assert not any(task.done() for task in running)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    journal.close()


@pytest.mark.parametrize(("finality_depth", "follows_the_wall_clock"), [(None, False), (0, True)])
async def test_chain_time_is_the_chains_own_in_production(
    tmp_path: Path, finality_depth: int | None, follows_the_wall_clock: bool
) -> None:
    """P13: this machine's clock is half a century ahead of the chain's, and no deadline has passed."""
    async with connected("anvil", "--timestamp", "1000000") as chain:
        await chain.ask(str, "anvil_mine", "0x64")
        async with watching(chain, tmp_path, finality_depth) as (watcher, journal, polls):
            progress, final = watcher.progress, await chain.finalized(finality_depth)
            assert (progress.chain_time_s > 1_600_000_000) == follows_the_wall_clock
            assert (progress.chain_time_s == final.timestamp_s) != follows_the_wall_clock
            assert (progress.head_number, progress.final_number) == (100, final.number)
            assert journal.cursor() == Cursor(final.number, final.hash)
            assert progress.head_seen_at_s <= asyncio.get_running_loop().time()
            assert polls.were_new == [True]


async def test_a_node_that_is_away_is_asked_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaints 3 and 4: /healthz sees that it is looked for, /readyz that nothing is found."""
    monkeypatch.setattr(rpc_node, "LONGEST_REST_S", 0.2)
    async with embedded_node() as upstream, faulty(upstream) as (proxy, url):
        chain = await Chain.connect(url)
        async with watching(chain, tmp_path, 0) as (watcher, _journal, polls):
            seen_at_s = watcher.progress.head_seen_at_s
            proxy.is_dead = True
            await polls.more(3)
            assert not any(polls.were_new[-2:])
            assert watcher.progress.head_seen_at_s == seen_at_s
            proxy.is_dead = False
            await TransactionSender(chain, dev_mnemonic_signer(0)).send(f.PAYER)
            await polls.more(2)
            assert any(polls.were_new[-2:])
            assert watcher.progress.head_seen_at_s > seen_at_s
        await chain.aclose()
