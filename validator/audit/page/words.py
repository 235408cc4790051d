"""Values of a report as people read them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from validator.amounts import describe_ether
from validator.html.words import say_position, say_share

AMOUNTS = frozenset({"reward", "fee", "miner_bond", "availability_bond", "validator_bond", "answer_fee"})
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
SHORT_CHARS = 13
"""Of an address or a hash that stands in full elsewhere."""


def say_time(timestamp_s: int) -> str:
    """To the second, in UTC; a time that no calendar has, as a liar may give, as its number."""
    try:
        return f"{datetime.fromtimestamp(timestamp_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):
        return f"Unix time {timestamp_s}"


def say_duration(seconds: int) -> str:
    """In the two largest units that it has: 90 s are 1 minute 30 seconds, and 7 days are 7 days."""
    rest, parts = abs(seconds), []
    for size, unit in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,} {unit}{'s' if count > 1 else ''}")
    said = " ".join(parts[:2]) or "0 seconds"
    return f"\N{MINUS SIGN}{said}" if seconds < 0 else said


def say_ether(amount_wei: str) -> str:
    return describe_ether(int(amount_wei)).partition(" (")[0]


def say_p(p_value: float | str) -> str:
    """With two digits, which is what anybody compares."""
    return f"{float(p_value):.2g}"


def shorten(text: str) -> str:
    """The ends of a hash or an address, enough to tell it from others."""
    return text if len(text) <= SHORT_CHARS else f"{text[:6]}\N{HORIZONTAL ELLIPSIS}{text[-4:]}"


def say_term(value: str | int | bool, name: str) -> str:
    """A term with its unit: an amount in ether, a duration, a scheme by its name."""
    if name in AMOUNTS:
        return say_ether(str(value))
    if name.endswith("_seconds"):
        return say_duration(int(value))
    if name == "scheme":
        text = bytes.fromhex(str(value)[2:]).rstrip(b"\0")
        return text.decode("ascii") if re.fullmatch(rb"[ -~]+", text) else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


FILTERS: dict[str, Callable[..., Any]] = {
    "share": say_share,
    "pc": say_position,
    "time": say_time,
    "duration": say_duration,
    "ether": say_ether,
    "p": say_p,
    "shorten": shorten,
    "term": say_term,
    "plain": lambda name: name.replace("_", " "),
}
"""Of the template, under short names."""
