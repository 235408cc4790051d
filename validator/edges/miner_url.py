"""Where a miner may be: the grammar of the URL that it registered, and the addresses that are connected to.

Rules kept: a list of what is allowed, never of what is forbidden in a URL; whatever a resolver or a URL parser could
read in two ways is refused (N5, N8); and no address but one that is reachable in the public Internet is ever connected
to (N5-N7), save loopback in the `dev` profile. Pure: nothing here asks a resolver or opens a socket.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from validator.config import Profile
from validator.errors import MinerFault
from validator.types import Hash32

MAX_URL_LENGTH = 2048
NO_TLS_KEY = Hash32(bytes(32))

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?"
)
"""No user, query, fragment or escape, and no path segment that starts with a dot."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?=[A-Za-z]){_LABEL}")
"""RFC 1123 labels, the last one starting with a letter: what ends in a number is an IPv4 address to somebody."""

_DEFAULT_PORTS = {"https": 443, "http": 80}

_NOT_PUBLIC_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
"""IANA's special-purpose registry, anycast relays, multicast, and where one large cloud's host is (168.63.129.16)."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that IANA hands out. Outside: ::/96, mapped, NAT64, site-local, ULA, link-local, multicast."""

_NOT_PUBLIC_IPV6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20"))
)
"""Inside it: Teredo, benchmarking and ORCHID; documentation; 6to4; AS112; the old 6bone."""


@dataclass(frozen=True, slots=True)
class MinerEndpoint:
    """A registered URL taken apart, with the SHA-256 of the TLS key that must answer; None is plain HTTP."""

    host: str
    """A lower-case name, or an address in its canonical spelling."""
    port: int
    path: str
    tls_key_hash: Hash32 | None
    allows_loopback: bool

    @property
    def url(self) -> str:
        scheme = "http" if self.tls_key_hash is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[scheme] else f":{self.port}"
        return f"{scheme}://{host}{port}{self.path}"

    def admits(self, address: str) -> bool:
        """Whether this address, one of the host's, may be connected to: public, or loopback where that is allowed."""
        parsed = ip_address(address)
        if parsed.is_loopback:
            return self.allows_loopback
        return self.tls_key_hash is not None and is_public(parsed)


def parse_endpoint(url: str, tls_key_hash: Hash32, profile: Profile) -> MinerEndpoint:
    """What a miner registered; MinerFault, for it stands on chain, if this profile's validators cannot go there."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL_LENGTH else None
    if found is None:
        raise MinerFault("the registered URL is not of the form https://host[:port][/path]")
    host = _parse_host(found["host"])
    is_plain = found["scheme"] == "http"
    if is_plain != (tls_key_hash == NO_TLS_KEY):
        raise MinerFault("a miner registers an https URL and the hash of its TLS key")
    endpoint = MinerEndpoint(
        host=host or found["host"].lower(),
        port=int(found["port"] or _DEFAULT_PORTS[found["scheme"]]),
        path=found["path"],
        tls_key_hash=None if is_plain else tls_key_hash,
        allows_loopback=profile.allows_loopback_miners,
    )
    if is_plain and not profile.allows_loopback_miners:
        raise MinerFault("a miner without TLS is for development only")
    if host is not None and not endpoint.admits(host):
        raise MinerFault(f"the registered address {host} is not a public one")
    is_loopback = host is not None and ip_address(host).is_loopback
    if endpoint.port not in profile.miner_ports and not (is_loopback and endpoint.port < 2**16):
        listed = ", ".join(map(str, sorted(profile.miner_ports)))
        raise MinerFault(f"the registered port {endpoint.port} is not one that miners are looked for at ({listed})")
    return endpoint


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Reachable in the public Internet, by our own list: `is_global` takes several ways into this host for public."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST
        and not any(address in network for network in _NOT_PUBLIC_IPV6)
    )


def _parse_host(text: str) -> str | None:
    """The canonical spelling of an address literal, None for a name; MinerFault for what is neither."""
    if _NAME.fullmatch(text):
        return None
    try:
        return str(IPv6Address(text[1:-1]) if text.startswith("[") else IPv4Address(text))
    except ValueError:
        raise MinerFault(f"the registered host {text!r} is neither a name nor an address") from None
