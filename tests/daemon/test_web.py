"""The web listener over real sockets: health, metrics, published evidence, and nothing else for anybody."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from tests.unit.evidence.settled import SEED, bundle_of, settled_task
from validator import door
from validator.door import Door
from validator.errors import BadInput
from validator.evidence.bundle import Bundle
from validator.evidence.store import BundleStore
from validator.health.progress import Progress
from validator.marks.secrets import derive_bundle_key
from validator.telemetry import TASKS
from validator.web import server
from validator.web.server import make_app, serving_web

SOON_S = 5
DATA = bundle_of(settled_task()).encode()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class Web:
    port: int
    progress: Progress
    bundles: BundleStore

    async def send(self, request: bytes) -> bytes:
        """All that comes back to these bytes until the server hangs up."""
        async with asyncio.timeout(SOON_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{method} {path} HTTP/1.1\r\nHost: validator\r\nConnection: close\r\n{lines}\r\n"
        head, _, body = (await self.send(request.encode())).partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        named = {name.lower(): value for name, value in (line.split(": ", 1) for line in fields)}
        return Answer(int(status.split()[1]), named, body)

    def publish(self, data: bytes = DATA) -> str:
        bundle_hash = self.bundles.write_pending(data)
        self.bundles.publish(bundle_hash)
        return f"0x{bundle_hash.hex()}"


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    progress, bundles = Progress(), BundleStore(tmp_path / "bundles", derive_bundle_key(SEED))
    progress.head_polled(is_new=True)
    progress.head_polled(is_new=True)
    async with serving_web(make_app(progress, bundles), "127.0.0.1", 0) as (_host, port):
        yield Web(port, progress, bundles)


async def test_a_daemon_that_gets_on_says_so_with_seconds_and_limits(web: Web):
    for path in ("/healthz", "/readyz"):
        answer = await web.ask(path)
        assert answer.status == 200
        assert answer.json["is_ok"]
        assert all(0 <= check["seconds"] <= check["limit_seconds"] for check in answer.json["checks"].values())
        assert answer.headers["cache-control"] == "no-store"


async def test_before_the_chain_was_seen_the_daemon_is_alive_and_not_ready(tmp_path: Path):
    progress, bundles = Progress(), BundleStore(tmp_path / "bundles", derive_bundle_key(SEED))
    progress.head_polled(is_new=False)
    async with serving_web(make_app(progress, bundles), "127.0.0.1", 0) as (_host, port):
        web = Web(port, progress, bundles)
        ready = await web.ask("/readyz")
        assert (ready.status, (await web.ask("/healthz")).status) == (503, 200)
        assert ready.json["checks"]["head"] == {"seconds": None, "limit_seconds": 180.0, "is_ok": False}


@pytest.mark.parametrize(
    ("stands_still", "readyz", "healthz"),
    [
        ({"head_seen_at": -200}, 503, 200),
        ({"head_seen_at": -7 * 3600}, 503, 503),
        ({"head_polled_at": -1000}, 200, 503),
        ({"oldest_effect_age_s": lambda: 4000.0}, 503, 200),
        ({"journal_stop_reason": lambda: "two validators use the key"}, 503, 200),
    ],
    ids=lambda value: "/".join(value) if isinstance(value, dict) else "",
)
async def test_what_stands_still_fails_the_question_that_it_belongs_to(web: Web, stands_still, readyz, healthz):
    """Complaints 3, 4 and 5: no progress is told, and a node's outage kills nobody."""
    for name, value in stands_still.items():
        setattr(web.progress, name, getattr(web.progress, name) + value if isinstance(value, int) else value)
    ready, alive = await web.ask("/readyz"), await web.ask("/healthz")
    assert (ready.status, alive.status) == (readyz, healthz)
    assert (ready.json["is_ok"], alive.json["is_ok"]) == (readyz == 200, healthz == 200)
    if "journal_stop_reason" in stands_still:
        assert ready.json["stop_reason"] == "two validators use the key"


async def test_metrics_are_in_the_text_format_with_our_names(web: Web):
    TASKS.labels("submitted").set(3)
    answer = await web.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b'touchstone_tasks{phase="submitted"} 3.0' in answer.body
    ours = [line for line in answer.body.decode().splitlines() if line.startswith("# TYPE touchstone_")]
    assert len(ours) > 20


async def test_a_published_bundle_is_served_for_ever_and_names_itself(web: Web):
    name = web.publish()
    answer = await web.ask(f"/bundles/{name}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert "immutable" in answer.headers["cache-control"]
    assert "0x" + keccak(answer.body).hex() == name
    assert Bundle.parse(answer.body) == bundle_of(settled_task())
    assert (await web.ask(f"/bundles/{name}", Range="bytes=10-19")).body == DATA[10:20]


async def test_a_bundle_is_not_to_be_had_before_its_settlement(web: Web):
    """I5; protocol, invariant 6."""
    name = f"0x{web.bundles.write_pending(DATA).hex()}"
    for path in (f"/bundles/{name}", f"/bundles/pending/{name}.sealed", f"/bundles/{name}.sealed"):
        assert (await web.ask(path)).status == 404
    assert (await web.ask("/bundles/")).json == {"bundles": [], "next_after": None}


async def test_bundles_are_listed_in_pages(web: Web, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "PAGE_HASHES", 2)
    names = sorted(web.publish(bundle_of(settled_task(hits)).encode()) for hits in range(5))
    seen, after = [], ""
    while after is not None:
        page = (await web.ask(f"/bundles/?after={after}")).json
        assert len(page["bundles"]) <= 2
        seen, after = seen + page["bundles"], page["next_after"]
    assert seen == names


SECRET_FILES = ("/bundles/../pending/x", "/bundles/..%2f..%2fjournal.sqlite", "/bundles/%2e%2e/journal.sqlite")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/bundles", "/health", "/metrics/", "/bundles//etc/passwd", "/journal.sqlite", *SECRET_FILES),
        *(f"/bundles/{name}" for name in ("0x12", "a" * 64, "0x" + "A" * 64, "0x" + "a" * 64)),
    ],
)
async def test_nothing_else_is_there(web: Web, path: str):
    (web.bundles.path(web.bundles.write_pending(DATA)).parent.parent / "journal.sqlite").write_text("the journal")
    answer = await web.ask(path)
    assert answer.status == 404
    assert b"the journal" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused_and_head_is_served(web: Web, method: str):
    name = web.publish()
    for path in ("/healthz", "/readyz", "/metrics", "/bundles/", f"/bundles/{name}"):
        assert (await web.ask(path, method)).status == 405
        head = await web.ask(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 0


async def test_an_answer_says_nothing_of_what_serves_it(web: Web):
    for path in ("/healthz", "/nothing"):
        answer = await web.ask(path)
        assert answer.headers["server"] == "touchstone"
        assert b"ython" not in answer.body


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00" * 1000,
        b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["no HTTP", "long header", "many headers", "two lengths"],
)
async def test_what_is_no_request_is_refused(web: Web, request_: bytes):
    """N11, turned round."""
    assert (await web.send(request_))[9:12] in (b"", b"400")
    assert (await web.ask("/healthz")).status == 200


async def test_strangers_who_only_connect_take_no_place_of_others(web: Web, monkeypatch: pytest.MonkeyPatch):
    """N1: by address, and for a bounded time; metrics and health are read meanwhile."""
    monkeypatch.setattr(door, "IDLE_SECONDS", 0.3)
    async with serving_web(make_app(web.progress, web.bundles), "127.0.0.1", 0) as (_host, port):
        held = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0)) for _ in range(100)]
        assert (await Web(port, web.progress, web.bundles).ask("/healthz")).status == 200
        async with asyncio.timeout(SOON_S):
            for reader, writer in held:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()


async def test_who_reads_too_slowly_is_hung_up_on(web: Web, monkeypatch: pytest.MonkeyPatch, caplog):
    """N1, turned round: a byte a minute of a large bundle would hold a place for years."""
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.3)
    large = bytes(8 << 20)
    name = web.publish(large)
    loop, tasks = asyncio.get_running_loop(), len(asyncio.all_tasks())
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        await loop.sock_connect(slow, ("127.0.0.1", web.port))
        await loop.sock_sendall(slow, f"GET /bundles/{name} HTTP/1.1\r\nHost: validator\r\n\r\n".encode())
        received = len(await loop.sock_recv(slow, 100))
        async with asyncio.timeout(SOON_S):
            while len(asyncio.all_tasks()) > tasks:  # Until the server has given up; others are served meanwhile.
                assert (await web.ask("/healthz")).status == 200
        with suppress(ConnectionResetError):
            while data := await asyncio.wait_for(loop.sock_recv(slow, 1 << 16), SOON_S):
                received += len(data)
    assert received < len(large)
    assert caplog.records == []


async def test_a_place_that_is_taken_is_named(web: Web):
    with pytest.raises(
        BadInput, match=f"http.listen: cannot listen on 127.0.0.1 port {web.port}: Address already in use"
    ):
        async with serving_web(make_app(web.progress, web.bundles), "127.0.0.1", web.port):
            pass
    with pytest.raises(OSError, match="Address already in use"):
        Door("127.0.0.1", web.port)


async def test_a_daemon_that_has_not_seen_the_chain_yet_is_alive_and_not_ready(web: Web) -> None:
    """Complaint 3: whoever says that it is ready must have looked."""
    web.progress.has_seen_head = False
    assert (await web.ask("/healthz")).status == 200
    answer = await web.ask("/readyz")
    assert (answer.status, answer.json["checks"]["head"]["seconds"]) == (503, None)
