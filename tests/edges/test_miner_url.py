"""Where a validator lets itself be sent by what a stranger registered: a table of URLs and one of addresses (N5-N8)."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.config import DEV, PRODUCTION
from validator.edges.miner_url import MAX_URL_LENGTH, NO_TLS_KEY, is_public, parse_endpoint
from validator.errors import MinerFault
from validator.types import Hash32

KEY = Hash32(b"\x11" * 32)

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 169.255.0.0
172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.255
203.0.114.0 223.255.255.255 2001:200::1 2606:4700:4700::1111 2a00:1450:4001:82a::200e 2620:4f:8001::1 2003::1
"""

NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.31.196.1
192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1
224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::7f00:1 64:ff9b::808:808
64:ff9b:1::1 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1
2001:db8::1 2002:7f00:1:: 2002:808:808::1 2620:4f:8000::1 3ffe::1 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 2606:4700::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff0e::1 1fff::1
"""

LEGACY = """
2130706433 127.1 0x7f.1 0x7f000001 0177.0.0.1 017700000001 0 0x0 127.0.1 127.0.0.1. 127.0.0.01 1.2.3 1.2.3.4.5 1.2.3.256
8.8.8.8. 08.8.8.8 0x8.8.8.8 8.8.8 134744072 1.1.1.0x1 a.0x7f a.1
"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_a_public_address_may_be_connected_to(address):
    assert is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert parse_endpoint(f"https://{host}", KEY, PRODUCTION).admits(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_no_other_address_may(address):
    """N5, N7: as a literal, and as the answer of a resolver."""
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(MinerFault):
        parse_endpoint(f"https://{host}", KEY, PRODUCTION)
    assert not parse_endpoint("https://miner.example", KEY, PRODUCTION).admits(address)


@given(st.ip_addresses())
def test_what_pythons_own_list_refuses_is_refused(address):
    """Ours is the stricter one, over all addresses."""
    assert address.is_global or not is_public(address)


@pytest.mark.parametrize("host", LEGACY.split())
def test_what_a_resolver_would_take_for_an_address_is_no_host(host):
    """N5: getaddrinfo reads most of these as 127.0.0.1; ours are names or canonical addresses, and nothing between."""
    for profile in (PRODUCTION, DEV):
        with pytest.raises(MinerFault):
            parse_endpoint(f"https://{host}", KEY, profile)


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "canonical"),
    [
        ("https://miner.example", "miner.example", 443, "", "https://miner.example"),
        ("https://Miner.Example/", "miner.example", 443, "", "https://miner.example"),
        ("https://miner.example:443", "miner.example", 443, "", "https://miner.example"),
        ("https://xn--bcher-kva.example/a/b-c_d~e.f", "xn--bcher-kva.example", 443, "/a/b-c_d~e.f", None),
        ("https://a-1.b2.c3d/v0/", "a-1.b2.c3d", 443, "/v0", "https://a-1.b2.c3d/v0"),
        ("https://8.8.8.8", "8.8.8.8", 443, "", None),
        ("https://[2606:4700:0:0::1111]", "2606:4700::1111", 443, "", "https://[2606:4700::1111]"),
        (f"https://{'a' * 63}.{'b' * 63}.example", f"{'a' * 63}.{'b' * 63}.example", 443, "", None),
    ],
)
def test_a_url_is_taken_apart_and_spelt_in_one_way(url, host, port, path, canonical):
    endpoint = parse_endpoint(url, KEY, PRODUCTION)
    assert (endpoint.host, endpoint.port, endpoint.path, endpoint.tls_key_hash) == (host, port, path, KEY)
    assert endpoint.url == (canonical or url)
    assert parse_endpoint(endpoint.url, KEY, PRODUCTION) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "miner.example",
        "//miner.example",
        "https:miner.example",
        "https:/miner.example",
        "https:///x",
        "HTTPS://miner.example",
        "http://miner.example",
        "ftp://miner.example",
        "file:///etc/passwd",
        "gopher://miner.example",
        "unix:///run/x",
        "https://user@miner.example",
        "https://user:pass@miner.example",
        "https://@miner.example",
        "https://miner.example@127.0.0.1",
        "https://miner.example\\@127.0.0.1",
        "https://miner.example%2f@127.0.0.1",
        "https://miner.example#@127.0.0.1",
        "https://miner.example?x",
        "https://miner.example/?x",
        "https://miner.example/#x",
        "https://miner.example/a b",
        "https://miner.example/%2e%2e/",
        "https://miner.example/../x",
        "https://miner.example/./x",
        "https://miner.example/a/../b",
        "https://miner.example//x",
        "https://miner.example/a//b",
        "https://miner.example/a\\b",
        "https://miner.example/;x",
        "https://miner.example\r\nHost: other",
        "https://miner.example/x\r\nX: y",
        "https://miner.example\n",
        " https://miner.example",
        "https://miner.example ",
        "https://miner.example\t",
        "https://miner\x00.example",
        "https://b\u00fccher.example",
        "https://miner\u3002example",
        "https://m\u0456ner.example",
        "https://\uff11\uff12\uff17.0.0.1",
        "https://\u2460.example",
        "https://miner.example:\u0664\u0664\u0663",
        "https://-a.example",
        "https://a-.example",
        "https://a..example",
        "https://.example",
        "https://miner.example.",
        "https://mi_ner.example",
        "https://*.example",
        f"https://{'a' * 64}.example",
        f"https://{'.'.join(['a' * 50] * 5)}.example",
        "https://[::1",
        "https://::1",
        "https://[::1%25lo]",
        "https://[fe80::1%25eth0]",
        "https://[v1.x]",
        "https://[]",
        "https://[8.8.8.8]",
        "https://[2606:4700::1111]x",
        "https://miner.example:",
        "https://miner.example:0",
        "https://miner.example:0443",
        "https://miner.example:+443",
        "https://miner.example:-1",
        "https://miner.example:65979",
        "https://miner.example:443:443",
        "https://miner.example/" + "a" * MAX_URL_LENGTH,
        "https://miner.example/" + "a" * (1 << 16),
    ],
    ids=lambda url: repr(url[:50]),
)
def test_any_other_url_is_refused(url):
    """N8."""
    for profile in (PRODUCTION, DEV):
        with pytest.raises(MinerFault):
            parse_endpoint(url, KEY, profile)


@given(st.text(alphabet=st.sampled_from("htps:/.@[]%#?\\ \r\n019afx-_~:\u3002\u0661"), max_size=30))
def test_no_text_gets_past_the_grammar_into_another_host(tail):
    """N8: whatever follows, it is refused or it names the host and port that stand in it."""
    try:
        endpoint = parse_endpoint("https://miner.example" + tail, KEY, PRODUCTION)
    except MinerFault:
        return
    assert endpoint.host.startswith("miner.example")
    assert set(endpoint.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert endpoint.port == 443


@pytest.mark.parametrize("port", [1, 22, 25, 80, 444, 1024, 3306, 6379, 8080, 8443, 8545, 65535])
@pytest.mark.parametrize("host", ["miner.example", "8.8.8.8"])
def test_a_port_that_is_not_listed_is_refused(host, port):
    """N8: miners are looked for where nothing but TLS is to be expected."""
    for profile in (PRODUCTION, DEV):
        with pytest.raises(MinerFault, match=f"port {port} is not one"):
            parse_endpoint(f"https://{host}:{port}", KEY, profile)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]"])
@pytest.mark.parametrize(("scheme", "key"), [("https", KEY), ("http", NO_TLS_KEY)])
def test_loopback_is_for_the_dev_profile(host, scheme, key):
    endpoint = parse_endpoint(f"{scheme}://{host}:8000", key, DEV)
    assert (endpoint.port, endpoint.tls_key_hash) == (8000, key if scheme == "https" else None)
    with pytest.raises(MinerFault):
        parse_endpoint(f"{scheme}://{host}:8000", key, PRODUCTION)
    with pytest.raises(MinerFault):
        parse_endpoint(f"{scheme}://{host}", key, PRODUCTION)


def test_plain_http_is_for_loopback():
    """Not even the `dev` profile carries a session token in clear out of the house."""
    with pytest.raises(MinerFault, match="not a public one"):
        parse_endpoint("http://8.8.8.8:443", NO_TLS_KEY, DEV)
    assert not parse_endpoint("http://miner.example:443", NO_TLS_KEY, DEV).admits("8.8.8.8")


@pytest.mark.parametrize(("url", "key"), [("https://miner.example", NO_TLS_KEY), ("http://127.0.0.1:8000", KEY)])
def test_tls_and_a_registered_key_belong_together(url, key):
    for profile in (PRODUCTION, DEV):
        with pytest.raises(MinerFault, match="an https URL and the hash of its TLS key"):
            parse_endpoint(url, key, profile)
