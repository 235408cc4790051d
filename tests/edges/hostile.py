"""Miners that play every trick on a client, in a process of their own: one port for each trick, most behind TLS.

`python -m tests.edges.hostile PEM HONEST` prints {trick: [port, ...]} and serves until its stdin ends. PEM holds the
key that all of them are registered with; the trick `honest` has so many ports and answers like a miner.
"""

import asyncio
import gzip
import json
import ssl
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from pathlib import Path

from validator.miner.tls import TlsIdentity

DRIP_S = 0.02
JSON = b"Content-Type: application/json\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + JSON

Trick = Callable[[StreamReader, StreamWriter], Awaitable[None]]
TRICKS: dict[str, Trick] = {}
WITHOUT_TLS = {"handshake never answered", "no TLS", "hangs up at once", "TLS alert", "garbage instead of TLS"}


def trick(name: str) -> Callable[[Trick], Trick]:
    def enter(play: Trick) -> Trick:
        TRICKS[name] = play
        return play

    return enter


async def drip(writer: StreamWriter, data: bytes) -> None:
    while not writer.is_closing():
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(DRIP_S)


async def flood(writer: StreamWriter, data: bytes) -> None:
    while not writer.is_closing():
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0)


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@trick("honest")
async def honest(reader: StreamReader, writer: StreamWriter) -> None:
    """Answers everything with the bytes of the body that it got and a complete chat completion."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = int(lengths[0].split(b":")[1]) if lengths else 0
        await reader.readexactly(size)
        choice = {"index": 0, "message": {"role": "assistant", "content": "a reply"}, "finish_reason": "stop"}
        body = json.dumps({"id": "cmpl-1", "model": "ft:1", "choices": [choice], "received": size}).encode()
        writer.write(OK + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()


def after_request(name: str, play: Trick) -> None:
    """A trick that begins when the request's headers are there."""

    async def wait(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await play(reader, writer)

    TRICKS[name] = wait


def drips(name: str, start: bytes, data: bytes) -> None:
    async def play(_reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(start)
        await drip(writer, data)

    after_request(name, play)


def floods(name: str, start: bytes, data: bytes) -> None:
    async def play(_reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(start)
        await flood(writer, data)

    after_request(name, play)


def says(name: str, answer: bytes, *, then_closes: bool = True) -> None:
    async def play(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if not then_closes:
            await reader.read()

    after_request(name, play)


def body(data: bytes, *headers: bytes) -> bytes:
    return OK + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(data) + data


drips("body drips", OK + b"Content-Length: 1000\r\n\r\n", b" ")
drips("chunks drip", OK + b"Transfer-Encoding: chunked\r\n\r\n", chunked(b" "))
drips("header drips", b"HTTP/1.1 200 OK\r\nX: ", b"x")
drips("status line drips", b"HTTP/1.1 200 ", b"O")
drips("100 Continue without end", b"", b"HTTP/1.1 100 Continue\r\n\r\n")
floods("100 Continue flood", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
floods("headers without end", b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100)
floods("header without end", b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4096)
floods("chunk extension without end", OK + b"Transfer-Encoding: chunked\r\n\r\n2;", b"x" * 65536)
floods("trailers without end", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n" * 1000)
says("silence", b"", then_closes=False)
says("silence in the headers", b"HTTP/1.1 200 OK\r\n", then_closes=False)
says("silence in the body", OK + b"Content-Length: 9\r\n\r\n{", then_closes=False)

floods("body without end", OK + b"\r\n", b" " * 65536)
floods("chunks without end", OK + b"Transfer-Encoding: chunked\r\n\r\n", chunked(b" " * 65536))
floods("100 GB announced and sent", OK + b"Content-Length: 100000000000\r\n\r\n", b" " * 65536)
says("less than announced", OK + b"Content-Length: 100\r\n\r\n{}")
says("length missing, closed in the middle", OK + b'\r\n{"a":')
says("lengths that differ", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
says("length below nothing", OK + b"Content-Length: -1\r\n\r\n{}")
says("length and chunks", OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

BOMB = gzip.compress(gzip.compress(bytes(16 << 20)))
says("gzip bomb", body(BOMB, b"Content-Encoding: gzip"))
says("gzip twice", body(BOMB, b"Content-Encoding: gzip, gzip"))
says("gzip by transfer", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(BOMB[:60000]) + b"0\r\n\r\n")

for bad in (
    b"zz\r\n{}",
    b"-2\r\n{}",
    b"f" * 40 + b"\r\n{}",
    b"2\r\n{}XX0\r\n\r\n",
    b"2{}\r\n",
    b"\r\n\r\n",
    b"0x2\r\n{}\r\n0\r\n\r\n",
):
    says(f"bad chunk {bad[:12]!r}", OK + b"Transfer-Encoding: chunked\r\n\r\n" + bad)
for bad in (b"no colon", b"X\x00: y", b"X y: z", b": nameless", b"X: \x00", b"Content-Length: two"):
    says(f"bad header {bad!r}", b"HTTP/1.1 200 OK\r\n" + bad + b"\r\n\r\n{}")
for bad in (
    b"HTTP/9.9 200 OK",
    b"HTTP/1.1 99999 OK",
    b"HTTP/1.1 abc OK",
    b"SSH-2.0-OpenSSH_9.6",
    b"\x00" * 64,
    b"GET / HTTP/1.1",
):
    says(f"bad status {bad[:20]!r}", bad + b"\r\n\r\n")

says("SSE instead of JSON", body(b'data: {"id":"x"}\n\ndata: [DONE]\n\n', b"X-Content: text/event-stream"))
says("200 with an error", body(b'{"error":{"message":"out of memory"}}'))
says("another model", body(b'{"model":"base","choices":[]}'))
says("a key twice", body(b'{"id":"a","id":"b"}'))
says("NaN", body(b'{"id":NaN}'))
says("5,000 digits", body(b'{"id":' + b"9" * 5000 + b"}"))
says("many keys", body(b"{" + b",".join(b'"%x":0' % i for i in range(5_500)) + b"}"))
says("depth", body(b"[" * 60_000))


@trick("upload never read")
async def upload_never_read(_reader: StreamReader, _writer: StreamWriter) -> None:
    await asyncio.Event().wait()


@trick("handshake never answered")
async def handshake_never_answered(reader: StreamReader, _writer: StreamWriter) -> None:
    await reader.read()


@trick("hangs up at once")
async def hangs_up_at_once(_reader: StreamReader, _writer: StreamWriter) -> None:
    return


@trick("no TLS")
async def no_tls(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)
    writer.write(body(b"{}"))


@trick("TLS alert")
async def tls_alert(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)
    writer.write(bytes.fromhex("15030300020228"))


@trick("garbage instead of TLS")
async def garbage(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read(1)
    await flood(writer, b"\x16\x03\x03\xff\xff" + b"x" * 60000)


def playing(play: Trick) -> Trick:
    async def play_and_close(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await play(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has seen enough, or the process ends
        finally:
            writer.close()

    return play_and_close


async def serve(context: ssl.SSLContext, honest_count: int) -> None:
    ports: dict[str, list[int]] = {}
    for name, play in TRICKS.items():
        for _ in range(honest_count if name == "honest" else 1):
            tls = None if name in WITHOUT_TLS else context
            server = await asyncio.start_server(playing(play), "127.0.0.1", 0, ssl=tls, limit=4096)
            ports.setdefault(name, []).append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(TlsIdentity(Path(sys.argv[1])).context, int(sys.argv[2])))
