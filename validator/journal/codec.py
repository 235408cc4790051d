"""Events, effects and signed transactions as the bytes that the journal keeps."""

import json
from dataclasses import asdict, dataclass
from typing import Any, get_args

import rlp
from eth_utils.address import to_checksum_address
from pydantic import TypeAdapter, ValidationError

from validator.errors import BadInput, Fatal
from validator.protocol.commitment import keccak
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.types import Address, Hash32, TaskId, Wei

FEE_MARKET_TYPE = 2

_EVENTS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
_EFFECTS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Effect)}


def encode_event(event: Event) -> bytes:
    return _EVENTS[type(event).__name__].dump_json(event)


def decode_event(kind: str, body: bytes) -> Event:
    """BadInput if it is none of this program's (P14)."""
    try:
        event: Event = _EVENTS[kind].validate_json(body)
    except (KeyError, ValidationError) as error:
        raise BadInput(
            f"the journal holds a {kind} that this program cannot read: use the version that wrote it"
        ) from error
    return event


def encode_effect(effect: Effect) -> bytes:
    """The same bytes for the same content."""
    fields = {"kind": type(effect).__name__} | asdict(effect)
    return json.dumps(fields, default=bytes.hex, sort_keys=True).encode()


def decode_effect(body: bytes) -> Effect:
    """BadInput if it is none of this program's (P14)."""
    fields = json.loads(body)
    kind, task_id = fields.pop("kind"), TaskId(bytes.fromhex(fields.pop("task_id")))
    try:
        effect: Effect = _EFFECTS[kind](task_id, **fields)
    except (KeyError, TypeError) as error:
        raise BadInput(
            f"the journal holds a {kind} that this program cannot read: use the version that wrote it"
        ) from error
    return effect


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """One attempt: an EIP-1559 transaction as it was, or may have been, broadcast."""

    raw: bytes
    tx_hash: Hash32
    chain_id: int
    nonce: int
    max_priority_fee_per_gas_wei: Wei
    max_fee_per_gas_wei: Wei
    gas_limit: int
    to: Address | None
    value_wei: Wei
    data: bytes


def read_transaction(raw: bytes) -> SignedTransaction:
    """Fatal if the bytes are no signed EIP-1559 transaction, the only kind that a validator sends."""
    try:
        if raw[0] != FEE_MARKET_TYPE:
            raise Fatal("a transaction that is not of type 2 was signed")
        numbers, (to, value, data) = (fields := rlp.decode(raw[1:]))[:5], fields[5:8]
        chain_id, nonce, priority_fee, fee, gas = map(int.from_bytes, numbers)
        recipient = Address(to_checksum_address(to)) if to else None
        value_wei = Wei(int.from_bytes(value))
    except (IndexError, TypeError, ValueError, rlp.DecodingError) as error:
        raise Fatal("what was signed is not a transaction") from error
    return SignedTransaction(
        raw, keccak(raw), chain_id, nonce, Wei(priority_fee), Wei(fee), gas, recipient, value_wei, bytes(data)
    )
