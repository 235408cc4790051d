"""What we believe of aiohttp's client, beyond what the tests of our own clients show."""

from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TraceConfig, web

from tests.edges.loopback import always, serving


async def test_a_trace_hears_of_every_new_connection_before_its_first_answer() -> None:
    """R3: that is when a node is asked for its chain id again."""
    heard: list[str] = []
    tracing = TraceConfig()

    async def connected(*_: Any) -> None:
        heard.append("connection")

    tracing.on_connection_create_end.append(connected)
    is_closing = False

    async def answer(_request: web.Request) -> web.Response:
        response = web.Response(text="ok")
        if is_closing:
            response.force_close()
        return response

    async with serving(answer) as url, ClientSession(trace_configs=[tracing]) as session:
        for closes in (False, False, True, True):
            is_closing = closes
            async with session.get(url) as response:
                await response.read()
            heard.append("answer")
    assert heard == ["connection", "answer", "answer", "answer", "connection", "answer"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_is_an_answer_like_any_other_if_it_is_not_allowed(status: int) -> None:
    """R4, N4."""
    handler = always(status=status, headers={"Location": "http://127.0.0.1:9/"})
    async with (
        serving(handler) as url,
        ClientSession() as session,
        session.post(url, json={}, allow_redirects=False) as response,
    ):
        assert response.status == status
        assert not response.history


async def test_compressed_bytes_stay_as_they_came_if_nobody_asks_for_more() -> None:
    """N3, R6: what is counted is what has come over the wire, and the header tells."""
    bomb = b"\x1f\x8b" + bytes(1_000)
    handler = always(body=bomb, headers={"Content-Encoding": "gzip"})
    async with serving(handler) as url, ClientSession(auto_decompress=False) as session, session.get(url) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert await response.read() == bomb


@pytest.mark.parametrize(("is_trusted", "reaches"), [(False, True), (True, False)])
async def test_the_environments_proxy_is_used_only_if_it_is_trusted(
    is_trusted: bool, reaches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N9."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with serving(always(text="ok")) as url, ClientSession(trust_env=is_trusted) as session:
        if reaches:
            async with session.get(url) as response:
                assert response.status == 200
        else:
            with pytest.raises(ClientError):
                await session.get(url)


@pytest.mark.parametrize(("count", "is_taken"), [(20, True), (40, False)])
async def test_the_number_of_headers_is_bounded_by_the_session(count: int, is_taken: bool) -> None:
    """N1."""
    handler = always(text="ok", headers={f"X-{place}": "x" for place in range(count)})
    async with serving(handler) as url, ClientSession(max_headers=32) as session:
        if is_taken:
            async with session.get(url) as response:
                assert response.status == 200
        else:
            with pytest.raises(ClientError):
                await session.get(url)
