"""Miners in a process of their own, fast and real on the wire; some of them hostile at one stage of a task.

    python -m tests.daemon.fleet

One JSON line on stdin, {"fleet": what `python -m miner_sim` takes, "hostile": {miner's name: behaviour}}; prints
{"ready": [...], "canary": port} and serves until its stdin ends, when it prints how often the canary was hit.
Every miner is miner_sim's own; in front of a hostile one stands another server, behind the TLS key that is registered,
which lets everything pass but the stage that its behaviour spoils.
"""

import asyncio
import json
import re
import socket
import ssl
import struct
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from miner_sim.config import FleetConfig, MinerConfig
from miner_sim.fleet import HOST, RunningMiner, running_fleet
from tests.edges import hostile
from validator.edges.chain import Chain
from validator.edges.keys import LocalSigner, SecretBytes
from validator.miner.chain_client import MinerChain
from validator.miner.tls import TlsIdentity
from validator.protocol import typed_data
from validator.types import Hash32, TaskId

HEAD_LIMIT_BYTES = 1 << 16
PIPE_BYTES = 1 << 16
CONNECTION, UPLOAD, JOB, LOCATE, PROBE, TRANSCRIPT, WEIGHTS, AFTER_UPLOAD, AFTER_JOB = (
    "",
    r"POST /v1/files ",
    r"POST /v1/fine_tuning/jobs ",
    r"GET /v1/fine_tuning/jobs/",
    r"POST /v1/chat/completions ",
    r"POST /v1/touchstone/tasks/0x([0-9a-f]{64})/transcript ",
    r"GET /v1/touchstone/tasks/0x[0-9a-f]{64}/files/",
    r"(?!POST /v1/files )",
    r"(?!POST /v1/(files|fine_tuning/jobs) )",
)
"""Which requests are spoiled: the beginning of their first line."""


@dataclass(frozen=True)
class Front:
    """What a behaviour may need: its miner's evidence key, and the port of a server that nobody should go to."""

    evidence_key: LocalSigner
    domain: dict[str, Any]
    canary_port: int


Play = Callable[[Front, str, StreamReader, StreamWriter], Awaitable[None]]
"""Gets the first line of the request; the reader begins with the request once more."""


@dataclass(frozen=True)
class Behaviour:
    """`stage` is a pattern of first lines; `ends` are the outcomes that a task with such a miner may have."""

    stage: str
    play: Play
    ends: tuple[str, ...]
    is_without_tls: bool = False
    has_other_tls_key: bool = False


BEHAVIOURS: dict[str, Behaviour] = {}
NOT_ACCEPTED, ANSWERED_ON_CHAIN = ("open_lapsed",), ("paid",)
"""Whoever withholds replies is challenged, and miner_sim's miners answer there: that costs them gas, and no more."""


def trick(name: str) -> Play:
    """One of the single faults of `tests/edges/hostile.py`."""

    async def play(_front: Front, _line: str, reader: StreamReader, writer: StreamWriter) -> None:
        await hostile.TRICKS[name](reader, writer)

    return play


def answer(make: Callable[[Front, str], Awaitable[bytes] | bytes]) -> Play:
    async def play(front: Front, line: str, reader: StreamReader, writer: StreamWriter) -> None:
        made = make(front, line)
        writer.write(made if isinstance(made, bytes) else await made)
        await writer.drain()
        await reader.read()

    return play


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} X", *headers, "Content-Length: 0", "", ""]).encode()


def job(model: str | None, state: str) -> bytes:
    """A job as the OpenAI wire shows it, whatever there really is."""
    body = {"id": "ftjob-1", "object": "fine_tuning.job", "status": state, "fine_tuned_model": model, "error": None}
    return hostile.body(json.dumps(body).encode())


def transcript(signature: bytes) -> bytes:
    return hostile.body(json.dumps({"signature": "0x" + signature.hex()}).encode())


async def sign_other_replies(front: Front, line: str) -> bytes:
    task_id = re.findall(r"0x([0-9a-f]{64})", line)[0]
    nothing = Hash32(bytes(32))
    message = typed_data.transcript(TaskId(Hash32(bytes.fromhex(task_id))), nothing, nothing, Hash32(bytes([1]) * 32))
    return transcript(await front.evidence_key.sign_typed_data(front.domain, message))


async def reset(_front: Front, _line: str, _reader: StreamReader, writer: StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


for name, stage, ends in (
    ("hangs up at once", UPLOAD, NOT_ACCEPTED),
    ("upload never read", UPLOAD, NOT_ACCEPTED),
    ("header drips", UPLOAD, NOT_ACCEPTED),
    ("body drips", UPLOAD, NOT_ACCEPTED),
    ("headers without end", UPLOAD, NOT_ACCEPTED),
    ("gzip bomb", UPLOAD, NOT_ACCEPTED),
    ("body without end", UPLOAD, NOT_ACCEPTED),
    ("100 GB announced and sent", UPLOAD, NOT_ACCEPTED),
    ("chunks without end", JOB, NOT_ACCEPTED),
    ("depth", JOB, NOT_ACCEPTED),
    ("5,000 digits", JOB, NOT_ACCEPTED),
    ("another model", PROBE, ANSWERED_ON_CHAIN),
    ("200 with an error", PROBE, ANSWERED_ON_CHAIN),
    ("chunks drip", PROBE, ANSWERED_ON_CHAIN),
    ("silence in the body", PROBE, ANSWERED_ON_CHAIN),
    ("SSE instead of JSON", PROBE, ANSWERED_ON_CHAIN),
    ("NaN", PROBE, ANSWERED_ON_CHAIN),
    ("trailers without end", TRANSCRIPT, ANSWERED_ON_CHAIN),
):
    BEHAVIOURS[name] = Behaviour(stage, trick(name), ends)

for name in ("handshake never answered", "no TLS", "garbage instead of TLS"):
    BEHAVIOURS[name] = Behaviour(CONNECTION, trick(name), NOT_ACCEPTED, is_without_tls=True)

BEHAVIOURS |= {
    "another TLS key": Behaviour(CONNECTION, trick("silence"), NOT_ACCEPTED, has_other_tls_key=True),
    "redirect to loopback": Behaviour(
        UPLOAD,
        answer(lambda front, _line: status(307, f"Location: http://{HOST}:{front.canary_port}/v1/files")),
        NOT_ACCEPTED,
    ),
    "401 for ever": Behaviour(UPLOAD, answer(lambda _front, _line: status(401)), NOT_ACCEPTED),
    "dead after upload": Behaviour(AFTER_UPLOAD, reset, NOT_ACCEPTED),
    "never accepts": Behaviour(JOB, answer(lambda _front, _line: job(None, "queued")), NOT_ACCEPTED),
    "unreachable after the model": Behaviour(AFTER_JOB, reset, ANSWERED_ON_CHAIN),
    "never names its model": Behaviour(LOCATE, answer(lambda _front, _line: job(None, "running")), ANSWERED_ON_CHAIN),
    "names another model": Behaviour(
        LOCATE, answer(lambda _front, _line: job("gpt-5", "succeeded")), ANSWERED_ON_CHAIN
    ),
    "unsigned": Behaviour(TRANSCRIPT, answer(lambda _front, _line: transcript(bytes(65))), ANSWERED_ON_CHAIN),
    "signs other replies": Behaviour(TRANSCRIPT, answer(sign_other_replies), ANSWERED_ON_CHAIN),
    "huge transcript": Behaviour(
        TRANSCRIPT, answer(lambda _front, _line: transcript(bytes(8 << 20))), ANSWERED_ON_CHAIN
    ),
}
BEHAVIOUR_NAMES = tuple(BEHAVIOURS)
"""All that a task without returned weights can meet."""

BEHAVIOURS |= {
    "other weights": Behaviour(
        WEIGHTS, answer(lambda _front, _line: hostile.body(b"{}", b"Connection: close")), ("paid",)
    ),
    "weights withheld": Behaviour(WEIGHTS, answer(lambda _front, _line: status(503, "Connection: close")), ("paid",)),
}


class FrontServer:
    """Serves one hostile miner; `inner_url` is where the real one listens."""

    def __init__(self, behaviour: Behaviour, front: Front, inner_url: str) -> None:
        self._behaviour = behaviour
        self._front = front
        self._inner = urlsplit(inner_url)
        self._serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        # asyncio itself keeps no reference to those who wait for nothing but themselves.
        self._serving.add(asyncio.current_task())
        try:
            if self._behaviour.stage == CONNECTION:
                await self._behaviour.play(self._front, "", reader, writer)
                return
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.partition(b"\r\n")[0].decode()
            if re.match(self._behaviour.stage, line):
                await self._play(line, head, reader, writer)
            else:
                await self._pass_on(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the daemon has seen enough, or the process ends
        finally:
            self._serving.discard(asyncio.current_task())
            writer.close()

    async def _play(self, line: str, head: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        again = StreamReader()
        again.feed_data(head)
        # Only what hears nothing may be left unread: an answer that comes while an upload runs must arrive.
        reading = asyncio.create_task(_throw_away(reader, again))
        try:
            await self._behaviour.play(self._front, line, again, writer)
        finally:
            reading.cancel()

    async def _pass_on(self, head: bytes, reader: StreamReader, writer: StreamWriter) -> None:
        """One exchange for each connection: what comes next may have to be spoiled."""
        inner_reader, inner_writer = await asyncio.open_connection(self._inner.hostname, self._inner.port)
        first, _, rest = head.partition(b"\r\n")
        inner_writer.write(first + b"\r\nConnection: close\r\n" + rest)
        sending = asyncio.create_task(_pipe(reader, inner_writer))
        try:
            await _pipe(inner_reader, writer)
        finally:
            sending.cancel()
            inner_writer.close()


async def _throw_away(reader: StreamReader, heard: StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(PIPE_BYTES):
            pass
    heard.feed_eof()


async def _pipe(reader: StreamReader, writer: StreamWriter) -> None:
    while chunk := await reader.read(PIPE_BYTES):
        writer.write(chunk)
        await writer.drain()


class Canary:
    """A server on loopback that nobody was told of but by a redirect; counts who comes."""

    def __init__(self) -> None:
        self.hits = 0

    async def serve(self, _reader: StreamReader, writer: StreamWriter) -> None:
        self.hits += 1
        writer.close()


async def open_front(
    config: FleetConfig, miner: MinerConfig, running: RunningMiner, chain: Chain, behaviour: Behaviour, canary_port: int
) -> tuple[RunningMiner, asyncio.Server]:
    """Open the server in front of a miner, and register its URL and key in place of the miner's own."""
    evidence_key = LocalSigner(SecretBytes(bytes.fromhex(miner.evidence_key[2:])))
    signer = LocalSigner(SecretBytes(bytes.fromhex(miner.private_key[2:])))
    account = await MinerChain.open(chain, config.contract, signer)
    identity = TlsIdentity(config.home / miner.name / "front.pem")
    shown = TlsIdentity(config.home / miner.name / "other.pem") if behaviour.has_other_tls_key else identity
    context: ssl.SSLContext | None = None if behaviour.is_without_tls else shown.context
    server = await asyncio.start_server(
        FrontServer(behaviour, Front(evidence_key, account.domain, canary_port), running.url).serve,
        HOST,
        0,
        ssl=context,
        limit=HEAD_LIMIT_BYTES,
    )
    url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
    await account.register(evidence_key.address, url, identity.key_hash)
    return replace(running, url=url), server


async def main() -> None:
    wanted = json.loads(await asyncio.to_thread(sys.stdin.readline))
    config, names = FleetConfig.model_validate(wanted["fleet"]), wanted["hostile"]
    canary = Canary()
    async with AsyncExitStack() as stack:
        miners = {miner.name: miner for miner in await stack.enter_async_context(running_fleet(config))}
        chain = await Chain.connect(config.rpc_url)
        stack.push_async_callback(chain.aclose)
        canary_server = await asyncio.start_server(canary.serve, HOST, 0)
        port = canary_server.sockets[0].getsockname()[1]
        for miner in config.miners:
            if miner.name in names:
                behaviour = BEHAVIOURS[names[miner.name]]
                opened = await open_front(config, miner, miners[miner.name], chain, behaviour, port)
                miners[miner.name] = opened[0]
        print(json.dumps({"ready": [asdict(miner) for miner in miners.values()]}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps({"canary_hits": canary.hits}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
