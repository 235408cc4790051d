"""Returned weights on their way: two names, a size, a rate, a whole file or none, and the submitted ones or a fault."""

import asyncio
import errno
import gzip
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.edges.loopback import Handler, serving, serving_bytes
from tests.edges.tls_keys import hash_of, make_context, new_key
from tests.factories import CHAIN_ID, CONTRACT, MINER, TASK_ID
from validator.config import DEV
from validator.edges.exchanges import Limits
from validator.edges.http import HttpClient
from validator.edges.keys import dev_mnemonic_signer
from validator.edges.miner_url import NO_TLS_KEY
from validator.edges.miners import MinerClient
from validator.errors import DiskFull, MinerFault, Transient
from validator.files import PartialFile
from validator.protocol import typed_data
from validator.protocol.commitment import ModelFile, hash_model_files
from validator.protocol.method import LORA, MAX_CONFIG_BYTES, Method
from validator.weights.returned import fetch_weights

METHOD = Method(LORA, 256, 8)
CAP_BYTES = 4 << 20
CONFIG, WEIGHTS = b'{"r": 8}', os.urandom(3 << 20)
CONTENTS = dict(zip(METHOD.file_names, (CONFIG, WEIGHTS), strict=True))
FILES = tuple(ModelFile(name, len(data), hashlib.sha256(data).digest()) for name, data in CONTENTS.items())
PATHS = [f"/v1/touchstone/tasks/0x{TASK_ID.hex()}/files/{name}" for name in METHOD.file_names]
QUICK = Limits(connect_s=2, read_s=0.3, grace_s=0.5)


class Server:
    """A miner that serves files, with ranges; it breaks off where it is told to, once for each."""

    def __init__(self, contents: dict[str, bytes] | None = None, *, breaks_at: list[int] | None = None) -> None:
        self.contents = CONTENTS if contents is None else contents
        self.breaks_at = breaks_at or []
        self.requests: list[tuple[str, str | None]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, request.headers.get("Range")))
        data = self.contents[request.path.rpartition("/")[2]]
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(data) - start
        await response.prepare(request)
        end = self.breaks_at.pop(0) if self.breaks_at and len(data) > 1 << 20 else len(data)
        await response.write(data[start:end])
        if end < len(data):
            assert request.transport is not None
            request.transport.close()
        return response


async def fetch(
    url: str,
    directory: Path,
    *,
    cap_bytes: int = CAP_BYTES,
    limits: Limits | None = None,
) -> tuple[ModelFile, ...]:
    async with HttpClient(DEV, limits=limits) as http:
        session = http.open_session(url, NO_TLS_KEY)
        client = MinerClient(session, MINER, dev_mnemonic_signer(0), typed_data.domain(CHAIN_ID, CONTRACT))
        return await fetch_weights(client, TASK_ID, hash_model_files(FILES), directory, METHOD, cap_bytes)


async def fetched(handler: Handler, directory: Path, **more: object) -> tuple[ModelFile, ...]:
    async with serving(handler) as url:
        return await fetch(url, directory, **more)


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_the_submitted_files_arrive_under_their_fixed_names_and_read_only(tmp_path):
    """M10, M11, M12."""
    server = Server()
    assert await fetched(server.handle, tmp_path / "weights") == FILES
    assert server.requests == [(path, None) for path in PATHS]
    assert left_in(tmp_path / "weights") == sorted(METHOD.file_names)
    assert [(tmp_path / "weights" / name).read_bytes() for name in METHOD.file_names] == [CONFIG, WEIGHTS]
    assert {(tmp_path / "weights" / name).stat().st_mode & 0o777 for name in METHOD.file_names} == {0o400}
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o700


async def test_they_come_over_the_registered_key_too(tmp_path):
    """N16: what TLS adds to every record is not counted against the miner."""
    key, server = new_key(), Server()
    async with serving(server.handle, make_context(tmp_path, key)) as url, HttpClient(DEV) as http:
        session = http.open_session(url, hash_of(key))
        client = MinerClient(session, MINER, dev_mnemonic_signer(0), typed_data.domain(CHAIN_ID, CONTRACT))
        submitted = hash_model_files(FILES)
        assert await fetch_weights(client, TASK_ID, submitted, tmp_path / "weights", METHOD, len(WEIGHTS)) == FILES


async def test_what_is_there_is_not_asked_for_again(tmp_path):
    server = Server()
    for _ in range(2):
        assert await fetched(server.handle, tmp_path) == FILES
    assert len(server.requests) == 2


async def test_a_broken_download_goes_on_where_it_ended(tmp_path):
    """K7, N15."""
    server = Server(breaks_at=[1 << 20])
    async with serving(server.handle) as url:
        with pytest.raises(Transient):
            await fetch(url, tmp_path)
        partial = (tmp_path / f".{METHOD.weights_file}.unfinished").stat().st_size
        assert 0 < partial <= 1 << 20
        assert await fetch(url, tmp_path) == FILES
    assert server.requests[-1] == (PATHS[1], f"bytes={partial}-")
    assert left_in(tmp_path) == sorted(METHOD.file_names)


async def test_a_miner_without_ranges_is_asked_for_the_whole(tmp_path):
    server = Server()
    (tmp_path / f".{METHOD.weights_file}.unfinished").write_bytes(WEIGHTS[:1000])

    async def without_ranges(request: web.Request) -> web.Response:
        return web.Response(body=server.contents[request.path.rpartition("/")[2]])

    assert await fetched(without_ranges, tmp_path) == FILES


async def test_what_a_crash_left_is_never_held_against_the_miner(tmp_path):
    """K3, K7: the tail of a file may be anything after a power loss; it is fetched whole before anybody is blamed."""
    (tmp_path / f".{METHOD.weights_file}.unfinished").write_bytes(bytes(1000))
    server = Server()
    async with serving(server.handle) as url:
        with pytest.raises(Transient, match="fetching it whole"):
            await fetch(url, tmp_path)
        assert left_in(tmp_path) == []
        assert await fetch(url, tmp_path) == FILES


async def test_a_partial_file_longer_than_the_miners_is_thrown_away(tmp_path):
    (tmp_path / f".{METHOD.weights_file}.unfinished").write_bytes(bytes(len(WEIGHTS) + 9))

    async def refuse_ranges(request: web.Request) -> web.Response:
        if "Range" in request.headers:
            return web.Response(status=416)
        return web.Response(body=CONTENTS[request.path.rpartition("/")[2]])

    async with serving(refuse_ranges) as url:
        with pytest.raises(Transient, match="not the beginning"):
            await fetch(url, tmp_path)
        assert await fetch(url, tmp_path) == FILES


@pytest.mark.parametrize("name", METHOD.file_names)
async def test_other_files_than_the_submitted_ones_are_a_fault_and_are_not_kept(tmp_path, name):
    """W4."""
    data = CONTENTS[name]
    server = Server(CONTENTS | {name: data[:-1] + bytes([data[-1] ^ 1])})
    with pytest.raises(MinerFault, match="not the submitted ones"):
        await fetched(server.handle, tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_file_over_the_cap_is_cut_off(tmp_path, chunked):
    """M15, N2: whether the length is announced or only comes."""
    sent = 0

    async def bomb(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = 500 << 30
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 16))
                sent += 1 << 16
        except ConnectionError:
            return response

    with pytest.raises(MinerFault, match=f"longer than {MAX_CONFIG_BYTES} bytes"):
        await fetched(bomb, tmp_path)
    partial = tmp_path / f".{METHOD.config_file}.unfinished"
    assert not partial.exists() or partial.stat().st_size <= MAX_CONFIG_BYTES
    assert sent < 16 << 20


async def test_a_download_does_not_begin_without_the_space_for_it(tmp_path):
    """M15, K1."""
    free_bytes = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    server = Server()
    with pytest.raises(DiskFull, match="bytes of space are missing"):
        await fetched(server.handle, tmp_path, cap_bytes=free_bytes)
    assert server.requests == [(PATHS[0], None)]


async def test_a_disk_that_fills_up_meanwhile_is_nobodys_fault(tmp_path):
    """K1: /dev/full takes no byte."""
    file = PartialFile(tmp_path / "weights")
    (tmp_path / ".weights.unfinished").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=os.strerror(errno.ENOSPC)):
        await file.append(b"x")


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"Content-Encoding": "gzip"}, "compressed"),
        ({"Content-Encoding": "br"}, "compressed"),
    ],
)
async def test_compression_is_a_fault(tmp_path, headers, complaint):
    """N3."""

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(CONFIG), headers=headers)

    with pytest.raises(MinerFault, match=complaint):
        await fetched(handle, tmp_path)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 403, 404, 204])
async def test_what_is_no_file_is_a_fault(tmp_path, status):
    """N4."""

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    with pytest.raises(MinerFault, match=f"HTTP {status}"):
        await fetched(handle, tmp_path)


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_a_miner_that_cannot_now_is_asked_again(tmp_path, status):
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(Transient, match=f"HTTP {status}"):
        await fetched(handle, tmp_path)


async def test_another_part_than_the_one_asked_for_is_a_fault(tmp_path):
    (tmp_path / f".{METHOD.config_file}.unfinished").write_bytes(CONFIG[:4])

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(status=206, body=CONFIG, headers={"Content-Range": "bytes 0-7/8"})

    with pytest.raises(MinerFault, match="another part"):
        await fetched(handle, tmp_path)


async def test_a_file_that_only_the_connections_end_ends_is_a_fault(tmp_path):
    """N2: anybody on the way could have cut it short."""
    async with serving_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + CONFIG) as url:
        with pytest.raises(MinerFault, match="whose end only the connection tells"):
            await fetch(url, tmp_path)


async def slow(request: web.Request) -> web.StreamResponse:
    """Less than the minimum rate, and never silent."""
    response = web.StreamResponse()
    response.content_length = 1 << 20
    await response.prepare(request)
    while True:
        await response.write(bytes(100))
        await asyncio.sleep(0.02)


async def silent(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 1 << 20
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


@pytest.mark.parametrize("handler", [slow, silent])
async def test_a_file_that_comes_too_slowly_is_cut_off(tmp_path, handler: Callable[..., Awaitable[web.StreamResponse]]):
    """N1."""
    with pytest.raises(Transient):
        await fetched(handler, tmp_path, limits=QUICK)


async def test_small_requests_beside_a_download_leave_it_its_bytes(tmp_path):
    """N2: what a miner may still send is counted for everything that runs, not for what began last."""
    downloading, asked = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response({"signature": "0x00"})
        data = CONTENTS[request.path.rpartition("/")[2]]
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[:8])
        downloading.set()
        await asked.wait()
        await response.write(data[8:])
        return response

    async with serving(handle) as url, HttpClient(DEV) as http:
        session = http.open_session(url, NO_TLS_KEY)
        client = MinerClient(session, MINER, dev_mnemonic_signer(0), typed_data.domain(CHAIN_ID, CONTRACT))
        download = asyncio.create_task(
            fetch_weights(client, TASK_ID, hash_model_files(FILES), tmp_path, METHOD, CAP_BYTES)
        )
        await downloading.wait()
        await client.transcript(TASK_ID, [])
        asked.set()
        assert await download == FILES
