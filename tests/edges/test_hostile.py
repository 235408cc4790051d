"""Miners that mean harm (tests/edges/hostile.py): each is Transient or a MinerFault in bounded time and memory.

A timeout, a lost connection and a broken exchange are Transient: anybody on the way can bring them about. What was said
over the registered key, in full, and against the protocol is the miner's fault. Neither costs another miner anything.
"""

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edges.hostile import TRICKS
from tests.factories import CHAIN_ID, CONTRACT, MINER
from validator.config import DEV
from validator.edges.exchanges import Limits
from validator.edges.http import HttpClient, MinerSession
from validator.edges.keys import dev_mnemonic_signer
from validator.edges.miners import MinerClient
from validator.errors import MinerFault, Transient
from validator.miner.tls import TlsIdentity
from validator.protocol import typed_data
from validator.protocol.state import Answer
from validator.types import Hash32

ROOT = Path(__file__).parents[2]
HONEST = 8
QUICK = Limits(connect_s=0.4, read_s=0.4, grace_s=0.8)
MUCH_LATER_S = 5
MEMORY_BYTES = 8 << 20

FAULTS = {
    "body without end": "longer than",
    "chunks without end": "longer than",
    "100 GB announced and sent": "longer than",
    "gzip bomb": "compressed",
    "gzip twice": "compressed",
    "gzip by transfer": "not valid UTF-8",
    "SSE instead of JSON": "not valid JSON",
    "200 with an error": "not from the model that was asked",
    "another model": "not from the model that was asked",
    "many keys": "not from the model that was asked",
    "a key twice": "a key stands twice",
    "NaN": "NaN is not JSON",
    "5,000 digits": "does not fit 64 bits",
    "depth": "nested too deeply",
}
"""What is said in full and in answer; every other trick is Transient."""

STALLING = [name for name in TRICKS if "drip" in name or "silence" in name or "never" in name]


@dataclass(frozen=True)
class Miners:
    """A running process of hostile miners, and the key that they share."""

    ports: dict[str, list[int]]
    tls_key_hash: Hash32

    def session(self, http: HttpClient, name: str, number: int = 0) -> MinerSession:
        return http.open_session(f"https://127.0.0.1:{self.ports[name][number]}", self.tls_key_hash)

    def client(self, http: HttpClient, name: str, number: int = 0) -> MinerClient:
        signer, domain = dev_mnemonic_signer(0), typed_data.domain(CHAIN_ID, CONTRACT)
        return MinerClient(self.session(http, name, number), MINER, signer, domain)


@pytest.fixture(scope="module")
def miners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Miners]:
    pem = tmp_path_factory.mktemp("hostile") / "tls.pem"
    identity = TlsIdentity(pem)
    command = [sys.executable, "-m", "tests.edges.hostile", str(pem), str(HONEST)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        yield Miners(json.loads(process.stdout.readline()), identity.key_hash)
        process.stdin.close()


async def probe(client: MinerClient) -> Answer:
    return await client.probe("ft:1", "Why?", 32)


@pytest.mark.parametrize("name", [name for name in TRICKS if name != "honest"])
async def test_every_trick_ends_soon_and_costs_nobody_else(miners: Miners, name: str):
    """N1, N2, N3, N11, N12, N13, N16."""
    async with HttpClient(DEV, limits=QUICK) as http:
        hostile, honest = miners.client(http, name), miners.client(http, "honest")
        tracemalloc.start()
        try:
            async with asyncio.timeout(MUCH_LATER_S):
                with pytest.raises(MinerFault if name in FAULTS else Transient, match=FAULTS.get(name)):
                    await (hostile.upload(bytes(30 << 20)) if "upload" in name else probe(hostile))
            peak_bytes = tracemalloc.get_traced_memory()[1] - ((30 << 20) if "upload" in name else 0)
        finally:
            tracemalloc.stop()
        assert peak_bytes < MEMORY_BYTES
        assert await probe(honest) == Answer("a reply", is_cut=False)


@pytest.mark.parametrize("name", ["100 Continue flood", "chunk extension without end", "garbage instead of TLS"])
async def test_a_flood_that_is_no_answer_ends_by_its_size_and_not_by_the_clock(miners: Miners, name: str):
    """N2, with the limits of the product: parsing such things as fast as they come would keep all others waiting."""
    async with HttpClient(DEV) as http, asyncio.timeout(MUCH_LATER_S):
        with pytest.raises(Transient):
            await probe(miners.client(http, name))


async def test_thirty_two_that_stall_do_not_delay_eight_that_answer(miners: Miners):
    """N1, with the limits of the product: two attempts of each are in the way of the honest ones' probes."""
    async with HttpClient(DEV) as http, asyncio.TaskGroup() as group:
        stalled = [miners.client(http, STALLING[i % len(STALLING)]) for i in range(32)]
        tasks = [group.create_task(until_it_gives_up(client)) for client in stalled for _ in range(2)]
        begun_s = time.monotonic()
        clients = [miners.client(http, "honest", i) for i in range(HONEST)]
        answers = await asyncio.gather(*(probe(client) for client in clients for _ in range(16)))
        took_s = time.monotonic() - begun_s
        still_stalled = sum(not task.done() for task in tasks)
        for task in tasks:
            task.cancel()
    assert answers == [Answer("a reply", is_cut=False)] * 128
    assert took_s < 3
    assert still_stalled >= 32


async def test_more_that_stall_than_there_are_connections_delay_the_others_by_a_bounded_time(miners: Miners):
    """N1: who waits takes over from the exchange that is furthest behind."""
    limits = Limits(connect_s=60, read_s=60, grace_s=60, patience_s=0.3, exchanges=8)
    async with HttpClient(DEV, limits=limits) as http, asyncio.TaskGroup() as group:
        stalled = [
            group.create_task(until_it_gives_up(miners.client(http, STALLING[i % len(STALLING)]))) for i in range(8)
        ]
        await asyncio.sleep(0)  # all eight have begun
        async with asyncio.timeout(MUCH_LATER_S):
            for _ in range(2):
                assert await probe(miners.client(http, "honest")) == Answer("a reply", is_cut=False)
        assert sum(not task.done() for task in stalled) >= 6
        for task in stalled:
            task.cancel()


async def until_it_gives_up(client: MinerClient) -> None:
    with suppress(Transient):
        await probe(client)


@pytest.mark.parametrize(
    "location",
    [
        "/elsewhere",
        "//127.0.0.1/",
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "https://user:pass@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "\\\\127.0.0.1",
        "",
    ],
)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere(status: int, location: str):
    """N4."""
    visits: list[str] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("other")
        writer.close()

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("miner")
        await reader.readuntil(b"\r\n\r\n")
        target = location.format(port=port)
        writer.write(f"HTTP/1.1 {status} Go\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        await reader.read()
        writer.close()

    other = await asyncio.start_server(count, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    miner = await asyncio.start_server(redirect, "127.0.0.1", 0)
    try:
        async with HttpClient(DEV) as http:
            url = f"http://127.0.0.1:{miner.sockets[0].getsockname()[1]}"
            with pytest.raises(MinerFault, match=f"HTTP {status}"):
                await http.open_session(url, Hash32(bytes(32))).request_json("GET", "/x", token="secret")
    finally:
        other.close()
        miner.close()
    assert visits == ["miner"]


async def test_a_miner_that_dies_after_delivery_is_transient_for_ever(miners: Miners, tmp_path: Path):
    """N15: the task's deadlines decide what comes of it, never a timeout."""
    command = [sys.executable, "-m", "tests.edges.hostile", str(tmp_path / "tls.pem"), "1"]
    identity = TlsIdentity(tmp_path / "tls.pem")
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    dying = Miners(json.loads(await process.stdout.readline()), identity.key_hash)
    async with HttpClient(DEV) as http:
        client = dying.client(http, "honest")
        assert await client.upload(bytes(1 << 20)) == "cmpl-1"
        process.kill()
        await process.wait()
        for _ in range(3):
            with pytest.raises(Transient):
                await probe(client)
        assert await probe(miners.client(http, "honest")) == Answer("a reply", is_cut=False)


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_large_body_at_an_honest_rate_outlasts_the_time_of_a_small_one(way: str):
    """N1: the minimum rate, in both directions."""
    limits = Limits(grace_s=1, rate_bytes_per_s=8 * 1024)
    assert await transfer(way, pause_s=0.04, limits=limits) > limits.grace_s


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_large_body_below_the_rate_is_cut_off(way: str):
    """N1: no byte is late, the whole is."""
    with pytest.raises(Transient, match=r"cut off after \d+ bytes"):
        await transfer(way, pause_s=0.02, limits=Limits(grace_s=0.2, rate_bytes_per_s=1 << 30))


async def transfer(way: str, *, pause_s: float, limits: Limits) -> float:
    """Seconds that a body takes of which the miner reads or sends a little every `pause_s`."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) if way == "up" else 0
        while left > 0:
            left -= len(await reader.read(1 << 18))
            await asyncio.sleep(pause_s)
        body = b'"' + b"x" * 60_000 + b'"'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        with suppress(ConnectionError):
            for start in range(0, len(body), 1_500):
                writer.write(body[start : start + 1_500])
                await writer.drain()
                await asyncio.sleep(pause_s if way == "down" else 0)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 17)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    begun_s = time.monotonic()
    try:
        async with HttpClient(DEV, limits=limits) as http:
            session = http.open_session(url, Hash32(bytes(32)))
            form = {"file": ("x", bytes(24 << 20))} if way == "up" else None
            await session.request_json("POST", "/x", token="secret", form=form)
    finally:
        server.close()
    return time.monotonic() - begun_s
