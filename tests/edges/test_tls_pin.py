"""TLS to the registered key alone, names resolved and judged: nothing is sent to anybody else (N6, N16)."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from tests.edges.loopback import always_json, serving
from tests.edges.tls_keys import hash_of, make_context, new_key
from validator.config import DEV, PRODUCTION
from validator.edges.exchanges import Limits
from validator.edges.http import HttpClient, MinerSession
from validator.edges.tls_pin import hash_public_key, make_pinned_context
from validator.errors import MinerFault, Transient

CERTIFICATE = """
MIIBaTCCAQ6gAwIBAgIBATAKBggqhkjOPQQDAjATMREwDwYDVQQDDAhhbnl0aGluZzAeFw0yNjExMjQyMTAyMzRaFw0yNjExMjUyMTAyMzRaMBMxETAP
BgNVBAMMCGFueXRoaW5nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE85JN5B2AEWMSkcNjVBW5kdh6mKya70RJ/HKZz38KD8zE+VP0OqJboQXbL75/
NztIwJH7t2qkCqIwDuGNd/5tKqNTMFEwHQYDVR0OBBYEFL0WofYVVbrSEoO5enR4DjsraVH1MB8GA1UdIwQYMBaAFL0WofYVVbrSEoO5enR4DjsraVH1
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAISZHf7yMWIkt0VGy5Fksph9rKl+qCwS+tu/I/uo508MAiEA1qpFXUSZ+s2LODQx4ZXQ
gEMZEEwJP4VBa4eb3vVyi20=
"""
KEY = new_key()


async def ask(session: MinerSession):
    return await session.request_json("POST", "/x", token="secret", json={"a": 1})


@asynccontextmanager
async def listening(context: ssl.SSLContext | None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that keeps whatever arrives at it, behind TLS if it has any, and never answers."""
    arrived: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(b"")
        try:
            while data := await reader.read(1 << 16):
                arrived.append(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], arrived
    finally:
        server.close()


def test_the_hash_is_openssls():
    """`openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256`."""
    digest = hash_public_key(base64.b64decode(CERTIFICATE))
    assert digest.hex() == "661c270f59c11930853fd025353d3878eae5fc9396acc87cde69084a77ffea10"


@pytest.mark.parametrize("certificate", [None, b"", b"\x30\x00", base64.b64decode(CERTIFICATE)[:-1]])
def test_a_certificate_that_cannot_be_read_has_nobodys_key(certificate):
    assert hash_public_key(certificate) is None


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_registered_key_is_enough(tmp_path: Path, kind: str, version: ssl.TLSVersion):
    """No authority, no name, no date."""
    key = new_key(kind)
    for changes in ({}, {"common_name": "127.0.0.2"}, {"days": -100}):
        context = make_context(tmp_path, key, **changes)
        context.minimum_version = context.maximum_version = version
        async with serving(always_json({"ok": 1}), context) as url, HttpClient(DEV) as http:
            assert await ask(http.open_session(url, hash_of(key))) == {"ok": 1}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_to_any_other_key_not_a_byte_is_sent(tmp_path: Path, version: ssl.TLSVersion):
    """N16: the token least of all. Transient: whoever holds another key has not proved to be the miner."""
    context = make_context(tmp_path, KEY)
    context.minimum_version = context.maximum_version = version
    async with listening(context) as (port, arrived), HttpClient(DEV) as http:
        session = http.open_session(f"https://127.0.0.1:{port}", hash_of(new_key()))
        for _ in range(2):
            with pytest.raises(Transient, match="the TLS key is not the one that the miner registered"):
                await ask(session)
    assert b"".join(arrived) == b""


async def test_the_registered_key_is_sent_the_request(tmp_path: Path):
    """The counterpart: what `listening` would have seen."""
    async with (
        listening(make_context(tmp_path, KEY)) as (port, arrived),
        HttpClient(DEV, limits=Limits(read_s=0.2)) as http,
    ):
        with pytest.raises(Transient, match="Timeout on reading"):
            await ask(http.open_session(f"https://127.0.0.1:{port}", hash_of(KEY)))
    assert b"Bearer secret" in b"".join(arrived)


async def test_a_key_that_changes_in_the_middle_of_a_task_is_refused_until_it_is_back(tmp_path: Path):
    """N16. A new certificate for the same key changes nothing."""
    right, renewed, other = make_context(tmp_path, KEY), make_context(tmp_path, KEY), make_context(tmp_path, new_key())
    async with HttpClient(DEV) as http:
        async with serving(always_json({"ok": 1}), right) as url:
            session = http.open_session(url, hash_of(KEY))
            assert await ask(session) == {"ok": 1}
        port = urlsplit(url).port
        async with serving(always_json({"ok": 2}), other, port):
            with pytest.raises(Transient, match="not the one that the miner registered"):
                await ask(session)
        async with serving(always_json({"ok": 3}), renewed, port):
            assert await ask(session) == {"ok": 3}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_tls_before_1_2_is_refused(tmp_path: Path):
    context = make_context(tmp_path, KEY)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert make_pinned_context(hash_of(KEY)).minimum_version == ssl.TLSVersion.TLSv1_2, "whatever OpenSSL is built with"
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.minimum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with listening(context) as (port, arrived), HttpClient(DEV) as http:
        with pytest.raises(Transient, match="Cannot connect"):
            await ask(http.open_session(f"https://127.0.0.1:{port}", hash_of(KEY)))
        assert arrived == []
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=old)
        assert writer.get_extra_info("cipher")[1] != "TLSv1.2", "the server does speak the old one"
        writer.close()


def test_a_key_that_was_found_right_cannot_be_exchanged_later():
    """A second handshake on the same connection would not be looked at."""
    assert make_pinned_context(hash_of(KEY)).options & ssl.OP_NO_RENEGOTIATION


class Names:
    """A resolver under a miner's control: the answers it gives, in turn, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        return list(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


async def test_a_name_is_what_the_server_gets_to_see(tmp_path: Path):
    """N6: Host and SNI name the miner, the connection goes to the address that was judged."""
    context, server_names = make_context(tmp_path, KEY), []
    context.sni_callback = lambda _socket, name, _context: server_names.append(name)
    hosts = []

    async def handle(request: web.Request) -> web.Response:
        hosts.append(request.headers["Host"])
        return web.json_response({})

    names = Names(["127.0.0.1"])
    async with serving(handle, context) as url:
        port = urlsplit(url).port
        async with HttpClient(replace(DEV, miner_ports=frozenset({port})), lookup=names) as http:
            session = http.open_session(f"https://Miner.Example:{port}", hash_of(KEY))
            for _ in range(3):
                await ask(session)
    assert server_names == ["miner.example"]
    assert hosts == [f"miner.example:{port}"] * 3
    assert names.asked == ["miner.example"], "the one connection was kept"


@pytest.mark.parametrize("second", [["169.254.169.254"], ["::ffff:127.0.0.1"], ["8.8.8.8", "10.0.0.1"]], ids=str)
async def test_a_name_that_is_bound_anew_is_judged_anew(tmp_path: Path, second: list[str]):
    """N6, DNS rebinding: nothing is remembered from the first connection, good or bad."""
    visits = []

    async def handle(request: web.Request) -> web.Response:
        visits.append(request.path)
        response = web.json_response({"ok": 1})
        response.force_close()
        return response

    names = Names(["127.0.0.1"], second, ["127.0.0.1"])
    async with serving(handle, make_context(tmp_path, KEY)) as url:
        port = urlsplit(url).port
        async with HttpClient(replace(DEV, miner_ports=frozenset({port})), lookup=names) as http:
            session = http.open_session(f"https://miner.example:{port}", hash_of(KEY))
            assert await ask(session) == {"ok": 1}
            with pytest.raises(Transient, match="which is not a public one"):
                await ask(session)
            assert await ask(session) == {"ok": 1}
    assert len(visits) == 2
    assert len(names.asked) == 3


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["::1"]], ids=str
)
async def test_one_forbidden_address_among_the_answers_is_enough(tmp_path: Path, answer: list[str]):
    """N6, in production: nobody is connected to. Transient, for what a resolver says is signed by nobody."""
    async with listening(make_context(tmp_path, KEY)) as (port, arrived):
        profile = replace(PRODUCTION, miner_ports=frozenset({port}))
        async with HttpClient(profile, lookup=Names(answer)) as http:
            with pytest.raises(Transient, match="which is not a public one"):
                await ask(http.open_session(f"https://miner.example:{port}", hash_of(KEY)))
    assert arrived == []


async def test_an_address_in_a_url_is_judged_without_a_resolver():
    """N5: address literals go past every resolver."""
    names = Names([])
    async with HttpClient(PRODUCTION, lookup=names) as http:
        for host in ("127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:7f00:1]", "2130706433"):
            with pytest.raises(MinerFault):
                http.open_session(f"https://{host}", hash_of(KEY))
    assert names.asked == []


async def test_a_name_without_an_address_is_transient():
    async def no_such_name(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for lookup in (Names([]), no_such_name):
        async with HttpClient(PRODUCTION, lookup=lookup) as http:
            with pytest.raises(Transient, match=r"no address|not known"):
                await ask(http.open_session("https://miner.example", hash_of(KEY)))


async def test_a_name_server_that_never_answers_is_asked_once_at_a_time(tmp_path: Path):
    """N1: it ties up one thread, not one for every attempt, and nobody else's requests."""
    names = Names(["127.0.0.1"])

    async def lookup(host: str) -> list[str]:
        addresses = await names(host)
        return await asyncio.Event().wait() or [] if host == "stalled.example" else addresses

    async with serving(always_json({"ok": 1}), make_context(tmp_path, KEY)) as url:
        port = urlsplit(url).port
        profile = replace(DEV, miner_ports=frozenset({port}))
        async with HttpClient(profile, limits=Limits(connect_s=0.2), lookup=lookup) as http:
            stalled = http.open_session(f"https://stalled.example:{port}", hash_of(KEY))
            for _ in range(3):
                with pytest.raises(Transient, match="imeout"):
                    await ask(stalled)
            assert await ask(http.open_session(f"https://miner.example:{port}", hash_of(KEY))) == {"ok": 1}
    assert names.asked.count("stalled.example") == 1
