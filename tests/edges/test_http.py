"""Requests to strangers: whatever they answer, it is JSON within bounds, a MinerFault, or Transient.

Over plain HTTP on loopback here; who is let near a connection at all is in test_miner_url.py and test_tls_pin.py, and
miners that mean it are in test_hostile.py. Not tested, because nothing of ours is there to be tested: N14 (a miner that
serves known validators a better model: the auditor's probes from elsewhere), N17 (no port of a validator is open) and
N18 (an old answer is no transcript: the signature binds task, model, marks and replies; tests/unit/test_driver.py).
"""

import asyncio
import gzip
import socket
import zlib

import pytest
from aiohttp import web

from tests.edges.loopback import always, always_json, serving, serving_bytes
from validator.config import DEV
from validator.edges.exchanges import Limits
from validator.edges.http import MAX_ANSWER_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, RETRY_STATUS, HttpClient
from validator.edges.miner_url import NO_TLS_KEY
from validator.errors import MinerFault, Transient

SMALL_GZIP = gzip.compress(b'{"a":1}')
BOMB = gzip.compress(bytes(10 << 20))


async def ask(url: str, path: str = "/x", *, method: str = "GET", limits: Limits | None = None, **more):
    async with HttpClient(DEV, limits=limits) as http:
        return await http.open_session(url, NO_TLS_KEY).request_json(method, path, token="secret", **more)


async def test_json_comes_back():
    async with serving(always_json({"id": "ü", "n": [1, 2.5, None, True]})) as url:
        assert await ask(url) == {"id": "ü", "n": [1, 2.5, None, True]}


async def test_what_is_sent_is_the_body_the_token_and_nothing_of_the_environment():
    """N10: no cookie, no user's defaults; nothing that a server could set comes back to it."""
    seen = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, dict(request.headers), await request.json()))
        response = web.json_response({})
        response.set_cookie("id", "tracked")
        return response

    async with serving(handle) as url, HttpClient(DEV) as http:
        session = http.open_session(url, NO_TLS_KEY)
        for _ in range(2):
            await session.request_json("POST", "/v1/x?limit=1", token="secret", json={"a": "ü"})
    assert seen[0] == seen[1]
    method, path, headers, body = seen[0]
    assert (method, path, body) == ("POST", "/v1/x?limit=1", {"a": "ü"})
    assert headers.pop("Authorization") == "Bearer secret"
    assert headers.pop("Accept-Encoding") == "identity"
    assert set(headers) <= {"Host", "Accept", "User-Agent", "Content-Length", "Content-Type"}


async def test_an_upload_arrives_byte_by_byte():
    seen = {}

    async def handle(request: web.Request) -> web.Response:
        for name, field in (await request.post()).items():
            seen[name] = field if isinstance(field, str) else (field.filename, field.file.read())
        return web.json_response({})

    content = bytes(range(256)) * 40_000
    async with serving(handle) as url:
        await ask(url, method="POST", form={"purpose": "fine-tune", "file": ("train.jsonl", content)})
    assert seen == {"purpose": "fine-tune", "file": ("train.jsonl", content)}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_fault_and_is_not_followed(status):
    """N4."""
    visited = []

    async def handle(request: web.Request) -> web.Response:
        visited.append(request.path)
        return web.Response(status=status, headers={"Location": "/internal"})

    async with serving(handle) as url:
        with pytest.raises(MinerFault, match=f"HTTP {status}"):
            await ask(url, "/start")
    assert visited == ["/start"]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", SMALL_GZIP), ("gzip", BOMB), ("deflate", zlib.compress(b"{}")), ("br", b"{}"), ("zstd", b"{}")],
    ids=["gzip", "bomb", "deflate", "br", "zstd"],
)
async def test_a_compressed_answer_is_a_fault(encoding, body):
    """N3."""
    async with serving(always(body=body, headers={"Content-Encoding": encoding})) as url:
        with pytest.raises(MinerFault, match="compressed answers are not accepted"):
            await ask(url)


async def test_an_endless_body_is_cut_off():
    """N2."""
    is_cut_off = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" " * (1 << 16))
        except ConnectionError:
            is_cut_off.set()
        return response

    async with serving(handle) as url:
        with pytest.raises(MinerFault, match=f"longer than {MAX_ANSWER_BYTES} bytes"):
            await ask(url)
        await asyncio.wait_for(is_cut_off.wait(), timeout=10)


@pytest.mark.parametrize("extra", [0, 1])
async def test_the_size_limit_is_exact(extra):
    body = b'"' + b"x" * (MAX_ANSWER_BYTES - 2 + extra) + b'"'
    async with serving(always(body=body)) as url:
        if extra:
            with pytest.raises(MinerFault, match="longer than"):
                await ask(url)
        else:
            assert len(await ask(url)) == MAX_ANSWER_BYTES - 2


@pytest.mark.parametrize(
    ("headers", "is_fine"),
    [
        ({f"X-{i}": "y" for i in range(MAX_HEADERS - 4)}, True),
        ({f"X-{i}": "y" for i in range(MAX_HEADERS)}, False),
        ({"X": "y" * (MAX_HEADER_BYTES - 100)}, True),
        ({"X": "y" * (MAX_HEADER_BYTES + 1)}, False),
    ],
    ids=["many", "too many", "long", "too long"],
)
async def test_headers_are_bounded(headers, is_fine):
    """N1."""
    async with serving(always(body=b"{}", headers=headers)) as url:
        if is_fine:
            assert await ask(url) == {}
        else:
            with pytest.raises(Transient):
                await ask(url)


async def test_a_miner_is_asked_two_things_at_a_time_and_the_others_wait_their_turn():
    """N1: waiting for one's own turn is not the miner's silence."""
    asked, most, release = 0, 0, asyncio.Event()

    async def handle(_request: web.Request) -> web.Response:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        if asked == 2:
            release.set()
        await release.wait()
        await asyncio.sleep(0.05)
        asked -= 1
        return web.json_response({})

    async with serving(handle) as url, HttpClient(DEV, limits=Limits(connect_s=0.3, read_s=0.3, grace_s=0.3)) as http:
        session = http.open_session(url, NO_TLS_KEY)
        answers = await asyncio.gather(*(session.request_json("GET", "/x", token="") for _ in range(20)))
    assert answers == [{}] * 20
    assert most == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x00\xa5" * 20 + b"\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
async def test_a_broken_exchange_is_transient(answer):
    """N2, N11: a transport failure is never evidence."""
    async with serving_bytes(answer) as url:
        with pytest.raises(Transient):
            await ask(url)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"], ids=repr
)
async def test_a_server_that_falls_silent_is_transient(answer):
    """N1."""
    async with serving_bytes(answer, is_left_open=True) as url:
        with pytest.raises(Transient, match="imeout"):
            await ask(url, limits=Limits(read_s=0.2))


async def test_nobody_at_the_address_is_transient():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Transient, match=f"GET http://127.0.0.1:{port}/x: "):
        await ask(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("status", sorted(RETRY_STATUS))
async def test_a_busy_server_is_transient(status):
    async with serving(always_json({"error": {"message": "later"}}, status)) as url:
        with pytest.raises(Transient, match=f"GET {url}/x: HTTP {status}"):
            await ask(url)


async def test_a_server_that_recovers_is_believed():
    statuses = iter([500, 503, 200])

    async def handle(_request: web.Request) -> web.Response:
        return web.json_response({"ok": 1}, status=next(statuses))

    async with serving(handle) as url, HttpClient(DEV) as http:
        session = http.open_session(url, NO_TLS_KEY)
        for _ in range(2):
            with pytest.raises(Transient):
                await session.request_json("GET", "/x", token="")
        assert await session.request_json("GET", "/x", token="") == {"ok": 1}


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422, 451, 501])
async def test_a_refusal_is_a_fault(status):
    async with serving(always_json({"error": {"message": "no such task"}}, status)) as url:
        with pytest.raises(MinerFault, match=f"GET {url}/x: HTTP {status}: no such task"):
            await ask(url)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error":{"message":"why"}}', "why"),
        (b'{"error":"why"}', "why"),
        (b'{"message":"why"}', "why"),
        (b'{"error":null}', "None"),
        (b'["why"]', "['why']"),
        (b"<html>why</html>", "<html>why</html>"),
        (b"two\r\nlines", "two lines"),
        (b'{"error":"\\u001b[2Jwhy"}', "\ufffd[2Jwhy"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error":{"message":"' + b"x" * 60_000 + b'"}}', "x" * 200),
    ],
    ids=lambda value: repr(value[:30]),
)
async def test_the_reason_of_a_refusal_is_shown_and_never_long(body, shown):
    async with serving(always(status=400, body=body)) as url:
        with pytest.raises(MinerFault) as fault:
            await ask(url)
    assert str(fault.value) == f"GET {url}/x: HTTP 400: {shown}"


@pytest.mark.parametrize("body", [b'{"error":{"message":"\\ud800"}}', b'{"error":"\\udfff"}', b'"\\ud800'])
async def test_the_reason_of_a_refusal_can_always_be_written_down(body):
    """I6: the fault goes into the journal, so a miner must not be able to choose a text that cannot."""
    async with serving(always(status=400, body=body)) as url:
        with pytest.raises(MinerFault) as fault:
            await ask(url)
    assert str(fault.value).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"<html></html>",
        b'data: {"id":1}\n\n',
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":1e999}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_what_is_not_strict_json_is_a_fault(body):
    """N12, N13."""
    async with serving(always(body=body)) as url:
        with pytest.raises(MinerFault, match="the answer is "):
            await ask(url)


async def test_the_environment_sets_no_proxy_and_no_password(monkeypatch, tmp_path):
    """N9."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login operator password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    proxied, seen = [], []

    async def proxy(request: web.Request) -> web.Response:
        proxied.append(request.path)
        return web.json_response({})

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({"direct": 1})

    async with serving(proxy) as proxy_url, serving(handle) as url:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy_url)
        assert await ask(url) == {"direct": 1}
    assert proxied == []
    assert seen == ["Bearer secret"]
