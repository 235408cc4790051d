"""What happens on chain reaches the driver: all of it, once it is final, whatever the nodes tell or leave out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.daemon import virtual_time
from tests.daemon.memory_miner import Behaviour
from tests.daemon.memory_node import MemoryNode, Wire
from tests.daemon.scenarios import Reorganisation
from tests.daemon.world import SEED, World
from validator import watcher as watcher_module
from validator.edges.contract import TaskStatus
from validator.errors import BadInput, ChainUnreachable, Fatal
from validator.journal import Identity, Journal
from validator.journal.tables import Cursor
from validator.marks.secrets import derive_journal_key
from validator.protocol.state import Phase

BEHAVIOURS = {
    TaskStatus.PAID: Behaviour(),
    TaskStatus.REFUNDED: Behaviour(hit_share=0.5),
    TaskStatus.SLASHED: Behaviour(hit_share=0.0),
    TaskStatus.MINER_LAPSED: Behaviour(answers_probes=False, answers_challenges=False),
}


@dataclass
class LyingNode:
    """The validator's view of a node: everything as it is, but for what a test makes of it."""

    node: MemoryNode
    queries: list[Mapping[str, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def answer(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        if method == "eth_getLogs":
            self.queries.append(params[0])
        return self.node.answer(method, params)


@dataclass
class Forgetful(LyingNode):
    """Leaves out three logs of ten."""

    dice: random.Random = field(default_factory=random.Random)
    dropped: int = 0

    def answer(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        answer = super().answer(method, params)
        if method == "eth_getLogs":
            kept = [entry for entry in answer["result"] if self.dice.random() >= 0.3]
            self.dropped += len(answer["result"]) - len(kept)
            answer["result"] = kept
        return answer


@dataclass
class Flipping(LyingNode):
    """Two machines behind a load balancer, of which one is five blocks behind."""

    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def answer(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        if method == "eth_getBlockByNumber" and params[0] == "latest" and self.dice.random() < 0.5:
            params = [hex(max(0, self.node.head.number - 5)), *params[1:]]
        return super().answer(method, params)


class Killed(Exception):
    """The end of a validator's process."""


class Outage(Wire):
    """Nothing gets through for a while."""

    def __init__(self, clock: virtual_time.Clock, from_s: float, until_s: float) -> None:
        self.clock, self.from_s, self.until_s = clock, from_s, until_s

    def before(self, what: str, content: Any) -> None:
        if what.startswith("eth_") and self.from_s <= self.clock.now_s < self.until_s:
            raise ChainUnreachable("no answer")


def live(
    directory: Path, *behaviours: Behaviour, view: type[LyingNode] = LyingNode, **options: Any
) -> tuple[World, Any]:
    """One life of a validator that sees the world through `view`; the world afterwards, and the view."""
    clock = virtual_time.Clock()

    async def main() -> tuple[World, Any]:
        world = await World.create(behaviours or (Behaviour(),), directory, clock, Wire())
        seen = view(world.node, **options)
        world.node = seen  # type: ignore[assignment]  # the miners keep theirs
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
    assert seen.dropped > 10
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
        world = await World.create([Behaviour(training_s=20.0)], tmp_path, clock, Wire())
        node = world.node
        first = LyingNode(node)
        world.node = first  # type: ignore[assignment]

        def die(state: Any) -> None:
            if state.phase is Phase.ACCEPTED:
                raise Killed

        world.on_change = die
        with pytest.raises(Killed):
            await world.live()
        await world.be_without_validator(25.0)
        world.move_to(move(tmp_path))
        world.on_change = lambda _state: None
        second = LyingNode(node)
        world.node = second  # type: ignore[assignment]
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


@pytest.mark.parametrize("seconds", [400, 1_500])
def test_an_outage_of_the_node_ends_nothing(tmp_path: Path, seconds: int) -> None:
    """Complaints 3 and 4: it neither dies nor stands still afterwards."""
    clock = virtual_time.Clock()

    async def main() -> World:
        world = await World.create([Behaviour(training_s=1e9)], tmp_path, clock, Outage(clock, 8.0, 8.0 + seconds))
        (await world.live()).close()
        return world

    world = virtual_time.run(main(), clock)
    assert virtual_time.run(outcomes(world)) == [TaskStatus.MINER_LAPSED]


@pytest.mark.parametrize("fact", ["TaskOpened", "TaskAccepted", "ModelSubmitted"])
def test_a_chain_that_takes_back_what_was_final_stops_the_validator(tmp_path: Path, fact: str) -> None:
    """C2: nothing more is sent, restarts included."""
    clock = virtual_time.Clock()

    async def main() -> World:
        world = await World.create([Behaviour()], tmp_path, clock, Wire())
        trouble = Reorganisation(fact, age=(world.profile.finality_depth or 0) + 1, keeps_transactions=False)
        world.after_block = lambda: trouble.after_block(world)
        with pytest.raises(Fatal, match="has taken back block"):
            await world.live()
        sent = len(world.node.pool)
        await world.be_without_validator(5.0)
        assert len(world.node.pool) == sent
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
