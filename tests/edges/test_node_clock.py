"""What time a node says it is (O4)."""

import socket
import time

import pytest
from aiohttp import web

from tests.edges.loopback import always, date_ahead, serving, serving_bytes
from validator.edges.node_clock import clock_offset_s
from validator.errors import ChainUnreachable


@pytest.mark.parametrize("offset_s", [-86_400, -90, 0, 90, 86_400])
async def test_the_date_of_an_answer_is_the_nodes_clock(offset_s: int):
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text="{}", headers={"Date": date_ahead(offset_s)})

    async with serving(handle) as url:
        started_s = time.monotonic()
        found_s = await clock_offset_s(url)
        took_s = time.monotonic() - started_s
    # a date is in whole seconds; when in the exchange the node said it is not known
    assert found_s == pytest.approx(offset_s, abs=0.5 + took_s / 2)


@pytest.mark.parametrize("header", [b"", b"Date: \r\n", b"Date: soon\r\n", b"Date: 99 Foo 99999 99:99:99 GMT\r\n"])
async def test_a_node_that_says_no_time_says_none(header: bytes):
    async with serving_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + header + b"\r\n{}") as url:
        assert await clock_offset_s(url) is None


async def test_a_refusal_tells_the_time_too():
    async with serving(always(status=500)) as url:
        assert await clock_offset_s(url) == pytest.approx(0, abs=2)


async def test_a_node_that_is_down_is_unreachable_and_its_url_stays_private():
    """H5."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ChainUnreachable) as error:
            await clock_offset_s(f"http://me:hunter2@127.0.0.1:{unused.getsockname()[1]}/hunter2")
    assert "hunter2" not in str(error.value)
