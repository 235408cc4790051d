"""Strangers at a miner's door, by raw sockets: bounded before they are known, and nothing is learnt from a refusal.

The rows of docs that bind the validator's client (N1-N3, N8, N11) are turned round here.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from miner_sim.config import MinerConfig
from miner_sim.fleet import RunningMiner, running_fleet
from tests.miner_sim.world import ETHER, WITH_RUNNING_MINERS, World, evidence_key, new_signer, private_key
from validator import door
from validator.config import DEV
from validator.door import Door, serving
from validator.edges.devnet import embedded_node
from validator.edges.http import HttpClient
from validator.edges.miners import MinerClient
from validator.errors import Transient
from validator.miner import gate, server
from validator.miner.tls import TlsIdentity

pytestmark = WITH_RUNNING_MINERS

SOON_S = 5
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: miner\r\n"


@pytest.fixture
def miner(miners: dict[str, RunningMiner]) -> RunningMiner:
    return miners["base"]


async def send(miner: RunningMiner, *parts: bytes) -> bytes:
    """All that the miner answers to these bytes until it hangs up or has nothing more to say for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(miner.url).port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(1):
            while data := await reader.read(1 << 16):
                answer += data
                if b"\r\n\r\n" in answer and b"100 Continue" not in answer:
                    break
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


async def is_alive(miner: RunningMiner) -> bool:
    return (await send(miner, HEAD + b"\r\n")).startswith(b"HTTP/1.1 401 ")


@asynccontextmanager
async def at_a_door(per_peer: int = 64, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that says hello to every request."""

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    listening = Door("127.0.0.1", 0, per_peer=per_peer)
    async with serving(app, listening, context):
        yield listening.getsockname()[1]


async def connect(port: int, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def is_served(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    reader, writer = connection
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: miner\r\n\r\n")
        return b"200" in await asyncio.wait_for(reader.readline(), SOON_S)
    except ConnectionError:
        return False


async def until_hung_up(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(SOON_S):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass


async def test_one_peer_has_so_many_connections_and_takes_none_of_another() -> None:
    async with at_a_door(per_peer=3) as port:
        connections = [await connect(port) for _ in range(3)]
        refused = [await connect(port) for _ in range(20)]
        for reader, _ in refused:
            await until_hung_up(reader)
        assert await is_served(await connect(port, source="127.0.0.2"))
        assert [await is_served(connection) for connection in connections] == [True] * 3
        reader, writer = connections[0]
        writer.write(b"GET / HTTP/1.1\r\nHost: miner\r\nConnection: close\r\n\r\n")
        await until_hung_up(reader)
        assert await is_served(await connect(port)), "the place is free again"


async def test_there_are_so_many_connections_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 4)
    async with at_a_door(per_peer=2) as port:
        held = [await connect(port, f"127.0.0.{peer}") for peer in (2, 2, 3, 3)]
        reader, _ = await connect(port, "127.0.0.4")
        await until_hung_up(reader)
        assert await is_served(held[0])


async def test_headers_that_drip_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """N1: slow loris."""
    monkeypatch.setattr(door, "IDLE_SECONDS", 0.3)
    async with at_a_door() as port:
        for start in (b"", b"G", b"GET / HTTP/1.1\r\nHost: miner\r\nX: "):
            reader, writer = await connect(port)
            writer.write(start)
            await until_hung_up(reader)


async def test_a_handshake_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N1."""
    monkeypatch.setattr(door, "HANDSHAKE_SECONDS", 0.3)
    async with at_a_door(per_peer=1, context=TlsIdentity(tmp_path / "tls.pem").context) as port:
        for start in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await connect(port)
            writer.write(start)
            await until_hung_up(reader)
            writer.close()  # the one place is free again: the next one is let in


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n\r\n",
        b"\x00" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\nHost: miner\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://other/ HTTP/1.1\r\nHost: miner\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: miner\r\n\r\n",
        b"GET /%00/%ff/../../etc/passwd HTTP/1.1\r\nHost: miner\r\n\r\n",
        b"GET /v1/models/%ed%a0%80 HTTP/1.1\r\nHost: miner\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: miner\r\n\r\n",
        HEAD + b"X: " + b"a" * 9000 + b"\r\n\r\n",
        HEAD + b"X: y\r\n" * 100 + b"\r\n",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b"X\x00: y\r\n\r\n",
        HEAD + b" folded\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        HEAD + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        HEAD + b"Expect: 200-ok\r\n\r\n",
        HEAD + b"Authorization: Bearer \xff\xfe\r\n\r\n",
        HEAD + b"Authorization: Bearer " + b"A" * 8000 + b"\r\n\r\n",
        HEAD + b"Authorization: Basic dXNlcjpwYXNz\r\n\r\n",
    ],
    ids=lambda request: repr(request[-40:]),
)
async def test_what_is_no_request_is_refused_and_leaves_no_trace(
    miner: RunningMiner, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """N11, and no way to fill the miner's log."""
    with caplog.at_level(logging.WARNING):
        answer = await send(miner, request_)
    assert answer[9:12] in (b"", b"400", b"401")
    assert b"Traceback" not in answer
    assert b"/site-packages/" not in answer
    assert caplog.records == []
    assert await is_alive(miner)


@pytest.mark.parametrize("path", ["/", "/v1/files", "/v1/chat/completions", "/v1/nothing", "/metrics", "/v1/models/x"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "PUT", "PATCH"])
async def test_nobody_is_asked_for_a_body_before_the_token_is_found_good(
    miner: RunningMiner, path: str, method: str
) -> None:
    """Not by `100 Continue` either; and a path that is not there looks like one that is."""
    head = f"{method} {path} HTTP/1.1\r\nHost: miner\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n".encode()
    answer = await send(miner, head)
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_known_validator_is_asked_for_its_body(world: World, miner: RunningMiner) -> None:
    body = b'{"model":"nothing"}'
    token = (await world.session(miner.address)).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: miner\r\nExpect: 100-continue\r\n"
        b"Authorization: Bearer " + token + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    )
    answer = await send(miner, head, body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 ")


async def test_a_body_without_end_behind_a_refusal_is_cut_off(miner: RunningMiner) -> None:
    """N2."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(miner.url).port)
    writer.write(b"POST /v1/files HTTP/1.1\r\nHost: miner\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b"401" in await asyncio.wait_for(reader.readline(), SOON_S)

    async def send_on() -> None:
        while True:
            writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), door.LINGERING_SECONDS + SOON_S)
    writer.close()


@pytest.mark.parametrize("path", ["/v1/files", "/v1/chat/completions"])
async def test_a_known_validators_body_that_drips_is_refused(
    world: World, miner: RunningMiner, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N1: a stake buys no time without end."""
    monkeypatch.setattr(server, "RECEIVE_GRACE_SECONDS", 0.2)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: miner\r\nAuthorization: Bearer {await world.session(miner.address)}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n--x\r\n"
    )
    assert (await send(miner, head.encode())).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("body", [b"zz\r\n{}", b"2\r\n{}XX", b"ffffffffffffffffff\r\n", b"2\r\n{}\r\n"], ids=repr)
async def test_a_known_validators_broken_body_ends_its_own_connection_only(
    world: World, miner: RunningMiner, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: miner\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Bearer {await world.session(miner.address)}\r\n\r\n"
    )
    with caplog.at_level(logging.WARNING):
        answer = await send(miner, head.encode(), body)
    assert b"Traceback" not in answer
    assert caplog.records == []
    assert await is_alive(miner)


async def test_a_compressed_body_is_not_unpacked(world: World, miner: RunningMiner) -> None:
    """N3."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: miner\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n"
        f"Authorization: Bearer {await world.session(miner.address)}\r\n\r\n"
    )
    answer = await send(miner, head.encode(), b"\x1f\x8b\x08\x00")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_crowd_of_unknown_validators_keeps_no_known_one_out(
    world: World, miner: RunningMiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys cost nothing: few wait for the chain at a time, the others are told to come back."""
    monkeypatch.setattr(gate, "MAX_STRANGERS", 2)
    request = "GET /v1/models HTTP/1.1\r\nHost: miner\r\nAuthorization: Bearer {}\r\n\r\n"
    crowd = [request.format(await world.session(miner.address, signer=new_signer())).encode() for _ in range(20)]
    known = request.format(await world.session(miner.address)).encode()
    assert (await send(miner, known)).startswith(b"HTTP/1.1 200 ")
    *answers, answer = await asyncio.gather(*(send(miner, each) for each in crowd), send(miner, known))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert {each[:12] for each in answers} == {b"HTTP/1.1 401", b"HTTP/1.1 503"}


async def test_a_refusal_says_nothing_of_the_miners_node(tmp_path: Path) -> None:
    """A stranger learns that the miner cannot serve, not where its node is."""
    async with embedded_node() as rpc_url:
        world = await World.create(rpc_url)
        config = MinerConfig(
            name="m",
            strategy="base",
            private_key=private_key(5),
            evidence_key=evidence_key(5),
            seed=1,
            stake_wei=ETHER,
            tls=False,
        )
        fleet = running_fleet(world.fleet_config(tmp_path, [config]))
        (miner,) = await fleet.__aenter__()
        token = await world.session(miner.address)
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(miner.url).port)
            writer.write(HEAD + f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    finally:
        await fleet.__aexit__(None, None, None)
        await world.aclose()
    assert answer.startswith(b"HTTP/1.1 503 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["message"] == "the chain cannot be read at the moment"
    assert str(urlsplit(rpc_url).port).encode() not in answer


async def test_a_validator_reaches_the_miner_by_what_it_registered_and_nobody_else_does(
    world: World, tmp_path: Path
) -> None:
    """N16, end to end: the key is made once, kept over a restart, and is what the chain says."""
    config = MinerConfig(
        name="m", strategy="base", private_key=private_key(6), evidence_key=evidence_key(6), seed=1, stake_wei=ETHER
    )
    hashes = []
    for _ in range(2):
        async with running_fleet(world.fleet_config(tmp_path, [config])) as (miner,), HttpClient(DEV) as http:
            registered = await world.contract.miner(miner.address)
            hashes.append(registered.tls_key_hash)
            assert registered.url.startswith("https://127.0.0.1:")
            session = http.open_session(registered.url, registered.tls_key_hash)
            client = MinerClient(session, miner.address, world.validator, world.contract.domain)
            assert (await client.upload(b"{}\n")).startswith("file-")
            stranger = MinerClient(session, miner.address, new_signer(), world.contract.domain)
            with pytest.raises(Transient, match="HTTP 401"):
                await stranger.upload(b"{}\n")
    assert hashes[0] == hashes[1] == TlsIdentity(tmp_path / "m" / "tls.pem").key_hash
    assert (tmp_path / "m" / "tls.pem").stat().st_mode & 0o777 == 0o600
