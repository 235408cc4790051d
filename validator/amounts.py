"""Amounts of the chain's coin, between people and wei: exact decimals, never floats."""

import re

from validator.errors import BadInput
from validator.types import Wei

WEI_DIGITS = 18
MAX_WEI = 2**96 - 1
"""The largest amount that a task can hold (protocol, "Decisions of the contract")."""


def parse_ether(text: str) -> Wei:
    """An amount such as 0.05, in ether; BadInput for anything that is not exactly one."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,18})?", text):
        raise BadInput(f"{text!r} is no amount of ether: digits, and up to {WEI_DIGITS} after a point, such as 0.05")
    whole, _point, decimals = text.partition(".")
    return Wei(int(whole + decimals.ljust(WEI_DIGITS, "0")))


def describe_ether(amount_wei: int) -> str:
    """Exact, and in both units: "0.05 ETH (50000000000000000 wei)"."""
    whole, rest = divmod(amount_wei, 10**WEI_DIGITS)
    decimals = f"{rest:0{WEI_DIGITS}}".rstrip("0")
    return f"{whole}{'.' if decimals else ''}{decimals} ETH ({amount_wei} wei)"
