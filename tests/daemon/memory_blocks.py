"""What the memory node's chain is made of, and the names of the contract's functions and events."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from eth_utils.abi import event_abi_to_log_topic, filter_abi_by_type, function_abi_to_4byte_selector

from contracts import load_artifact
from validator.journal.codec import SignedTransaction
from validator.types import Address, Hash32

EVENT_NAMES = {
    event_abi_to_log_topic(entry): entry["name"] for entry in filter_abi_by_type("event", load_artifact().abi)
}
FUNCTIONS = {
    function_abi_to_4byte_selector(entry): entry["name"]
    for entry in filter_abi_by_type("function", load_artifact().abi)
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """What was sent, and by whom: recovered from the signature."""

    signed: SignedTransaction
    sender: Address

    @property
    def hash(self) -> Hash32:
        return self.signed.tx_hash

    def price_wei(self, base_fee_wei: int) -> int:
        """What the sender pays for one unit of gas (EIP-1559)."""
        signed = self.signed
        return min(signed.max_fee_per_gas_wei, base_fee_wei + signed.max_priority_fee_per_gas_wei)

    @property
    def function(self) -> str:
        """Of the contract; empty where it calls none."""
        return FUNCTIONS.get(self.signed.data[:4], "")

    @property
    def max_cost_wei(self) -> int:
        return self.signed.gas_limit * self.signed.max_fee_per_gas_wei + self.signed.value_wei


class RawLog(NamedTuple):
    address: Address
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a transaction in its block."""

    transaction: Transaction
    is_success: bool
    gas_used: int
    price_wei: int
    logs: tuple[RawLog, ...]
    created: Address | None

    def facts(self) -> Iterator[tuple[str, bytes]]:
        """Its events of the contract: name, and first indexed value."""
        for log in self.logs:
            if (name := EVENT_NAMES.get(log.topics[0])) is not None:
                yield name, b"".join(log.topics[1:2])


@dataclass(frozen=True, slots=True)
class MinedBlock:
    number: int
    hash: Hash32
    timestamp_s: int
    base_fee_wei: int
    outcomes: tuple[Outcome, ...] = ()
