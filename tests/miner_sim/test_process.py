"""`python -m miner_sim` as a process: ready line, exit statuses, and no child that outlives it."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.miner_sim.world import BASE_MODEL, ETHER, World, evidence_key, private_key
from validator.edges.devnet import embedded_node

MINER_ACCOUNTS = (3, 4)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with embedded_node() as rpc_url:
        world = await World.create(rpc_url)
        yield world
        await world.aclose()


def make_config(world: World, home: Path, **changes: Any) -> dict[str, Any]:
    miners = [
        {
            "name": f"honest-{account}",
            "strategy": "honest",
            "port": 0,
            "private_key": private_key(account),
            "evidence_key": evidence_key(account),
            "seed": account,
            "stake_wei": ETHER,
        }
        for account in MINER_ACCOUNTS
    ]
    config = {
        "rpc_url": world.rpc_url,
        "contract": world.contract.address,
        "home": str(home),
        "base_model": str(BASE_MODEL),
        "training_workers": 1,
        "miners": miners,
    }
    return config | changes


async def start(config: Any) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "miner_sim", stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    process.stdin.write(json.dumps(config).encode() + b"\n")
    return process


async def family(process: Process) -> list[psutil.Process]:
    """The process and its children, once the inference child is there, which another child forks."""
    parent = psutil.Process(process.pid)
    while not any(child.children() for child in parent.children()):  # noqa: ASYNC110  another process
        await asyncio.sleep(0.05)
    return [parent, *parent.children(recursive=True)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def assert_all_end(members: list[psutil.Process]) -> None:
    async with asyncio.timeout(10):
        while any(is_alive(member) for member in members):  # noqa: ASYNC110  other processes
            await asyncio.sleep(0.05)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGINT to the process group", "end of stdin"])
async def test_it_ends_with_status_0_and_takes_its_children_along(world: World, tmp_path: Path, ending: str) -> None:
    process = await start(make_config(world, tmp_path))
    ready = json.loads(await process.stdout.readline())["ready"]
    assert [miner["name"] for miner in ready] == ["honest-3", "honest-4"]
    for miner in ready:
        registered = await world.contract.miner(miner["address"])
        assert (registered.url, registered.stake) == (miner["url"], ETHER)
    members = await family(process)
    if ending == "SIGTERM":
        process.terminate()
    elif ending == "end of stdin":
        process.stdin.close()
    else:
        os.killpg(process.pid, signal.SIGINT)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    await assert_all_end(members)


async def test_a_second_start_finds_its_registration_and_makes_no_other(world: World, tmp_path: Path) -> None:
    """Complaint 11; another registration would be another epoch, and end what runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = make_config(world, tmp_path)
    config["miners"] = [config["miners"][0] | {"port": port}]
    seen = []
    for _ in range(2):
        process = await start(config)
        [miner] = json.loads(await process.stdout.readline())["ready"]
        process.terminate()
        await process.communicate()
        registered = await world.contract.miner(miner["address"])
        seen.append((registered.url, registered.tls_key_hash, registered.stake, registered.epoch))
    assert seen[0] == seen[1]


async def test_its_children_end_when_it_is_killed(world: World, tmp_path: Path) -> None:
    process = await start(make_config(world, tmp_path))
    await process.stdout.readline()
    members = await family(process)
    process.kill()
    await process.wait()
    await assert_all_end(members)


async def test_a_port_in_use_is_one_line_and_status_2(world: World, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = make_config(world, tmp_path)
        port = config["miners"][0]["port"] = taken.getsockname()[1]
        assert await errors_of(config) == (
            f"error: miner honest-3: cannot listen on 127.0.0.1 port {port}: Address already in use"
        )


async def test_an_unreachable_chain_is_one_line_and_status_2(world: World, tmp_path: Path) -> None:
    errors = await errors_of(make_config(world, tmp_path, rpc_url="http://127.0.0.1:9"))
    assert errors.startswith("error: no answer from http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"contract": "0x" + "11" * 20}, "there is no contract"),
        ({"contract": "here"}, "not an address"),
        ({"training_workers": 0}, "training_workers"),
        ({"miners": []}, "miners"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
async def test_a_bad_configuration_is_one_line_and_status_2(
    world: World, tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    assert complaint in await errors_of(make_config(world, tmp_path, **change))


async def test_a_key_in_a_bad_configuration_is_not_printed(world: World, tmp_path: Path) -> None:
    """H5."""
    config = make_config(world, tmp_path)
    config["miners"][1]["private_key"] = "0xsecret"
    errors = await errors_of(config)
    assert "private_key" in errors
    assert "secret" not in errors


async def errors_of(config: dict[str, Any]) -> str:
    process = await start(config)
    output, errors = await process.communicate()
    assert (process.returncode, output) == (2, b"")
    [line] = errors.decode().splitlines()
    return line
