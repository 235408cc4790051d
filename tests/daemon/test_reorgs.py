"""The chain takes back its last blocks, up to as many as are not final, whatever the task is waiting for just then.

A case is (kind of transaction, where it stands, depth): when the transaction is in the pool, in the newest block, or in
the oldest block that is not final, the last `depth` blocks give way to others. What was in them goes back to the pool
or, at odd depths, is gone.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import structlog

from tests.daemon import virtual_time
from tests.daemon.invariants import describe_end, find_violations
from tests.daemon.memory_miner import Behaviour
from tests.daemon.memory_node import MemoryNode
from tests.daemon.memory_rpc import Wire
from tests.daemon.world import PROFILE, World
from validator.config import Durations
from validator.errors import BadInput, Fatal

FINALITY_DEPTH = 64
LONG = replace(
    PROFILE,
    finality_depth=FINALITY_DEPTH,
    durations=Durations(
        accept_seconds=250,
        train_seconds=250,
        submitted_seconds=600,
        challenged_seconds=250,
        answered_seconds=400,
        judging_seconds=250,
        dispute_seconds=4,
    ),
)

KINDS = {
    "open_task": Behaviour(),
    "accept": Behaviour(),
    "submit": Behaviour(),
    "challenge": Behaviour(signs=False),
    "answer": Behaviour(signs=False),
    "settle": Behaviour(),
    "poke": Behaviour(accepts=False),
}
"""Who sends it: `accept`, `submit` and `answer` are the miner's."""
PLACES = ("sent", "mined", "nearly final")


class Case(NamedTuple):
    kind: str
    place: str
    depth: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.place}-{self.depth}"


SHARE = [
    Case(list(KINDS)[depth % len(KINDS)], PLACES[depth % len(PLACES)], depth) for depth in range(1, FINALITY_DEPTH + 1)
]
"""Every depth, every kind and, since their numbers have no common divisor, every pair of kind and place."""


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Formatting what nobody reads would take as long as the rest."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def is_there(node: MemoryNode, case: Case) -> bool:
    """Whether the case's transaction stands where the case says."""
    if case.place == "sent":
        return any(transaction.function == case.kind for transaction in node.pool.values())
    age = 0 if case.place == "mined" else FINALITY_DEPTH - 1
    block = node.blocks[max(0, node.head.number - age)]
    return any(outcome.transaction.function == case.kind for outcome in block.outcomes)


def live(directory: Path, behaviour: Behaviour, at_a_block: Callable[[World], None]) -> dict[str, Any]:
    """One life of a task; its end, which is without violations. `at_a_block` is called before and after each."""
    clock = virtual_time.Clock()

    async def run() -> dict[str, Any]:
        world = await World.create([behaviour], directory, clock, Wire(), LONG)
        world.block_s = 0.05
        world.before_block = world.after_block = lambda: at_a_block(world)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(world.contract.chain.aclose)
            journal = await world.live()
            stack.callback(journal.close)
            assert await find_violations(world, journal) == []
            return await describe_end(world, journal)

    return virtual_time.run(run(), clock)


@cache
def undisturbed(behaviour: Behaviour) -> dict[str, Any]:
    with TemporaryDirectory() as directory:
        return live(Path(directory), behaviour, lambda _world: None)


def check(case: Case, directory: Path) -> None:
    reorganised = []

    def take_back(world: World) -> None:
        if not reorganised and is_there(world.node, case):
            reorganised.append(world.node.head.number)
            world.node.reorganise(case.depth, keeps_transactions=case.depth % 2 == 0)

    end = live(directory, KINDS[case.kind], take_back)
    assert reorganised
    assert end == undisturbed(KINDS[case.kind])


@pytest.mark.parametrize("case", SHARE, ids=str)
def test_what_is_not_final_may_be_taken_back(case: Case, tmp_path: Path) -> None:
    """C1, C3, C13: no dataset before open_task is final, no probe before submit is, no settle before the replies stand;
    everything happens once in the end.
    """
    check(case, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("depth", range(1, FINALITY_DEPTH + 1))
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_not_final_may_be_taken_back(kind: str, place: str, depth: int, tmp_path: Path) -> None:
    """C1, C3, C13: all of them."""
    check(Case(kind, place, depth), tmp_path)


def test_the_share_has_every_depth_and_every_kind_in_every_place() -> None:
    assert {case.depth for case in SHARE} == set(range(1, FINALITY_DEPTH + 1))
    assert {(case.kind, case.place) for case in SHARE} == {(kind, place) for kind in KINDS for place in PLACES}


@pytest.mark.parametrize("depth", [FINALITY_DEPTH + 10, 128])
def test_a_chain_that_takes_back_what_was_final_ends_the_validator_for_good(depth: int, tmp_path: Path) -> None:
    """C2, P10: the dataset is out by then; nothing is revealed, nobody is slashed, and a restart changes nothing."""
    worlds: list[World] = []

    def take_back(world: World) -> None:
        if not worlds and world.miners[0].tasks:
            worlds.append(world)
            world.node.reorganise(depth)

    with pytest.raises(Fatal, match="had called final"):
        live(tmp_path, Behaviour(), take_back)
    (world,) = worlds
    assert not any(transaction.function == "settle" for transaction in world.node.pool.values())
    with pytest.raises(BadInput, match="is stopped"):
        virtual_time.run(world.live(), world.clock)
