"""A contract on a bare EVM: calls by name, decoded events, reverts as `Reverted`.

Rule kept: only shipped bytecode runs here, driven by the shipped ABI, on any chain that can do what `Chain` says.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import pyrevm
import pytest
from eth_abi.abi import decode, encode
from eth_utils.abi import (
    event_abi_to_log_topic,
    filter_abi_by_type,
    function_abi_to_4byte_selector,
    get_abi_input_types,
    get_abi_output_types,
)
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

GENESIS_S = 1_800_000_000
GAS_LIMIT = 30_000_000
MAX_BASE_SLOTS = 32
DEPLOYER = "0x" + "de" * 20
_REVERT = re.compile(r"^Revert \{ gas_used: \d+, output: 0x([0-9a-f]*) \}$")
_ERROR_STRING = bytes.fromhex("08c379a0")


class Reverted(Exception):
    """The call changed nothing; says the contract's reason, or nothing where the ABI decoder or the lock refused."""


@contextmanager
def reverts(*reasons: str) -> Iterator[None]:
    """Expect a revert with exactly this reason, or one of these."""
    with pytest.raises(Reverted) as caught:
        yield
    assert str(caught.value) in reasons


class Log(NamedTuple):
    topics: list[bytes]
    data: bytes


class Event(NamedTuple):
    name: str
    args: dict[str, Any]


class Chain(Protocol):
    """What a test needs of a chain; `now` is the block time of the next call.

    On leaving `rolled_back` everything but `now` is again as it was on entering.
    """

    chain_id: int
    now: int

    def deploy(self, initcode: bytes) -> str: ...

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[Log]: ...

    def read(self, to: str, data: bytes) -> bytes: ...

    def balance(self, address: str) -> int: ...

    def fund(self, address: str, amount_wei: int) -> None: ...

    def rolled_back(self) -> AbstractContextManager[None]: ...


class PyRevm:
    """The fast chain. Its gas is not a chain's: slots stay warm from call to call."""

    def __init__(self, chain_id: int = 31337) -> None:
        self.chain_id = chain_id
        self._evm = pyrevm.EVM(pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id)), spec_id="PRAGUE")
        self.now = GENESIS_S

    @property
    def now(self) -> int:
        return self._now

    @now.setter
    def now(self, timestamp_s: int) -> None:
        self._now = timestamp_s
        self._evm.set_block_env(pyrevm.BlockEnv(number=1, timestamp=timestamp_s))

    def deploy(self, initcode: bytes) -> str:
        with _translated_reverts():
            return str(to_checksum_address(self._evm.deploy(DEPLOYER, initcode)))

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[Log]:
        with _translated_reverts():
            self._evm.message_call(sender, to, calldata=data, value=value_wei, gas=GAS_LIMIT)
        return [Log([bytes(topic) for topic in log.data[0]], bytes(log.data[1])) for log in self._evm.result.logs]

    def read(self, to: str, data: bytes) -> bytes:
        with _translated_reverts():
            return bytes(self._evm.message_call(DEPLOYER, to, calldata=data, is_static=True, gas=GAS_LIMIT))

    def balance(self, address: str) -> int:
        return int(self._evm.get_balance(address))

    def fund(self, address: str, amount_wei: int) -> None:
        """Ether out of nothing, without a call: as a block reward or a self-destruct can force it in."""
        self._evm.set_balance(address, self.balance(address) + amount_wei)

    def set_code(self, address: str, code: bytes) -> None:
        """Put code at an account that is there already; while it has some, it sends no transaction itself."""
        self._evm.insert_account_info(address, pyrevm.AccountInfo(balance=self.balance(address), code=code))

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        checkpoint = self._evm.snapshot()
        try:
            yield
        finally:
            self._evm.revert(checkpoint)

    def split_off(self, address: str, keys: Sequence[bytes]) -> "PyRevm":
        """Another chain id that inherits one contract: its code, its balance and its plain mappings at `keys`."""
        other = PyRevm(self.chain_id + 1)
        other.now = self.now
        account = pyrevm.AccountInfo(balance=self.balance(address), code=self.code(address))
        other._evm.insert_account_info(address, account)
        for base in range(MAX_BASE_SLOTS):
            for key in keys:
                slot = int.from_bytes(keccak(base.to_bytes(32, "big") + key.rjust(32, b"\0")), "big")
                other._evm.insert_account_storage(address, slot, self._evm.storage(address, slot))
        return other

    def code(self, address: str) -> bytes:
        return bytes(self._evm.get_code(address) or b"")


@contextmanager
def _translated_reverts() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        match = _REVERT.match(str(error))
        if match is None:
            raise
        raise Reverted(revert_reason(bytes.fromhex(match.group(1)))) from None


def revert_reason(output: bytes) -> str:
    """The message of `Error(string)`; empty for any other revert data."""
    return str(decode(["string"], output[4:])[0]) if output[:4] == _ERROR_STRING else ""


class Contract:
    """One deployed contract."""

    def __init__(self, chain: Chain, abi: Sequence[Any], initcode: bytes, *constructor_args: Any) -> None:
        self.chain = chain
        self._functions = {entry["name"]: entry for entry in filter_abi_by_type("function", abi)}
        self._events = {event_abi_to_log_topic(entry): entry for entry in filter_abi_by_type("event", abi)}
        (constructor,) = filter_abi_by_type("constructor", abi)
        self.address = chain.deploy(initcode + encode(get_abi_input_types(constructor), constructor_args))

    def calldata(self, name: str, *args: Any) -> bytes:
        entry = self._functions[name]
        return function_abi_to_4byte_selector(entry) + encode(get_abi_input_types(entry), args)

    def send(self, to: str, sender: str, data: bytes, value_wei: int = 0) -> list[Event]:
        """One transaction to this contract, or through another one."""
        return [self._decode(log) for log in self.chain.transact(sender, to, data, value_wei)]

    def call(self, sender: str, name: str, *args: Any, value_wei: int = 0) -> list[Event]:
        return self.send(self.address, sender, self.calldata(name, *args), value_wei)

    def view(self, name: str, *args: Any) -> Any:
        output = self.chain.read(self.address, self.calldata(name, *args))
        (result,) = decode(get_abi_output_types(self._functions[name]), output)
        return result

    def _decode(self, log: Log) -> Event:
        entry = self._events[log.topics[0]]
        indexed = [item for item in entry["inputs"] if item["indexed"]]
        plain = [item for item in entry["inputs"] if not item["indexed"]]
        values = decode(get_abi_input_types({**entry, "type": "function", "inputs": plain}), log.data)
        args = dict(zip((item["name"] for item in plain), values, strict=True))
        for item, topic in zip(indexed, log.topics[1:], strict=True):
            (args[item["name"]],) = decode([item["type"]], topic)
        return Event(entry["name"], args)
