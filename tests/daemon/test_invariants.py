"""The enumerator's own eyes: what it looks for it finds, where it is there."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.daemon import virtual_time
from tests.daemon.invariants import find_secrets, find_violations
from tests.daemon.memory_miner import Behaviour, Deed
from tests.daemon.memory_rpc import Wire
from tests.daemon.world import SEED, World
from validator.journal import Journal


def after_a_life(directory: Path, tamper: Callable[[World, Journal], None]) -> list[str]:
    """The violations that are found once a paid task was tampered with."""
    clock = virtual_time.Clock()

    async def live() -> list[str]:
        world = await World.create([Behaviour()], directory, clock, Wire())
        async with AsyncExitStack() as stack:
            stack.push_async_callback(world.contract.chain.aclose)
            journal = await world.live()
            stack.callback(journal.close)
            tamper(world, journal)
            return await find_violations(world, journal)

    return virtual_time.run(live(), clock)


def leave_all(_world: World, _journal: Journal) -> None:
    """Nothing is wrong."""


def upload_another(world: World, _journal: Journal) -> None:
    world.miners[0].deeds.append(Deed("upload", b"another dataset", is_due=True))


def probe_early(world: World, _journal: Journal) -> None:
    world.miners[0].deeds.append(Deed("probe", world.planted.marks[0].row.prompt.encode(), is_due=False))


def ask_another(world: World, _journal: Journal) -> None:
    world.miners[0].deeds.append(Deed("probe", b"What is this?", is_due=True))


def mine_twice(world: World, _journal: Journal) -> None:
    block = next(block for block, _outcome in reversed(list(world.node.outcomes())))
    world.node.blocks.append(block)


def force_ether_in(world: World, _journal: Journal) -> None:
    world.node._state.evm.set_balance(world.contract.address, 1)


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (leave_all, []),
        (upload_another, ["P5", "P5"]),
        (probe_early, ["gate"]),
        (ask_another, ["P6"]),
        (mine_twice, ["I4", "I4"]),
        (force_ether_in, ["I1"]),
    ],
)
def test_a_violation_is_found(tamper: Callable[[World, Journal], None], found: list[str], tmp_path: Path) -> None:
    assert [violation.partition(":")[0] for violation in after_a_life(tmp_path, tamper)] == found


def test_a_secret_is_found_wherever_it_lies(tmp_path: Path) -> None:
    clock = virtual_time.Clock()

    async def begin() -> World:
        world = await World.create([Behaviour()], tmp_path, clock, Wire())
        await world.contract.chain.aclose()
        return world

    world = virtual_time.run(begin(), clock)
    assert find_secrets(world, "nothing here") == []
    salt = world.secrets.commitment_salt(world.validator.address, 0)
    (world.directory / "validator" / "dump").write_bytes(b"..." + SEED + b"...")
    assert find_secrets(world, f"salt={salt.hex()}") == [
        "I5: the master seed is in dump",
        "I5: the salt is in the logs",
    ]
