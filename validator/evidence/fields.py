"""How values are written in a bundle, so that one content has one text in every language.

Bytes are lower-case hex behind 0x, amounts are decimal text, other integers fit 53 bits, a probability is text of seven
significant digits and any other fraction has four decimals: no number is left whose text could differ between programs.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeAlias

from eth_utils.address import is_checksum_address
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, PlainSerializer, StringConstraints

from validator.protocol.commitment import Terms
from validator.types import Address, Hash32, TaskId, Wei

MAX_TEXT_CHARS = 1 << 20
"""Of a prompt, a response or a reply: what a line of a dataset and an answer of a miner may hold."""
MAX_WEI = 2**96 - 1
MAX_SMALL = 2**53 - 1

Text: TypeAlias = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
Word: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Small: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SMALL)]
Decimal: TypeAlias = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,9}\.[0-9]{4}$")]
"""Of a number that is no probability, such as the logarithm of one."""
Probability: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9]\.[0-9]{6}e[+-][0-9]{2,3}$")]


def write_probability(value: float) -> str:
    return f"{value:.6e}"


def write_decimal(value: float) -> str:
    return f"{value:.4f}"


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def _from_hex(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.startswith("0x") or value != value.lower():
        raise ValueError("bytes are lower-case hex behind 0x")
    return bytes.fromhex(value[2:])


def _check_address(value: str) -> Address:
    if not is_checksum_address(value):
        raise ValueError("not an address in its EIP-55 spelling")
    return Address(value)


Hex: TypeAlias = Annotated[bytes, Field(max_length=65), BeforeValidator(_from_hex), PlainSerializer(to_hex)]
Hex32: TypeAlias = Annotated[
    Hash32, Field(min_length=32, max_length=32), BeforeValidator(_from_hex), PlainSerializer(to_hex)
]
HexTaskId: TypeAlias = Annotated[
    TaskId, Field(min_length=32, max_length=32), BeforeValidator(_from_hex), PlainSerializer(to_hex)
]
AddressText: TypeAlias = Annotated[Address, AfterValidator(_check_address)]


_DECIMAL = re.compile("0|[1-9][0-9]{,28}")


def _write_terms(terms: Terms) -> dict[str, Any]:
    return {field.name: _write_term(field.type, getattr(terms, field.name)) for field in fields(Terms)}


def _write_term(kind: Any, value: Any) -> Any:
    if kind is Wei:
        return str(value)
    return to_hex(value) if isinstance(value, bytes) else value


def _read_terms(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if value.keys() != {field.name for field in fields(Terms)}:
        raise ValueError("exactly the terms of the protocol are needed")
    return Terms(**{field.name: _read_term(field.name, field.type, value[field.name]) for field in fields(Terms)})


def _read_term(name: str, kind: Any, value: Any) -> Any:
    if kind is bool or kind is int:
        if type(value) is kind and 0 <= value <= MAX_SMALL:
            return value
    elif isinstance(value, str):
        if kind is Address:
            return _check_address(value)
        if kind is not Wei:
            read = _from_hex(value)
            if len(read) == 32:
                return read
        elif _DECIMAL.fullmatch(value) and int(value) <= MAX_WEI:
            return Wei(int(value))
    raise ValueError(f"{name} is not as the protocol has it")


TermsObject: TypeAlias = Annotated[InstanceOf[Terms], BeforeValidator(_read_terms), PlainSerializer(_write_terms)]
