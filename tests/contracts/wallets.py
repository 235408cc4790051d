"""Accounts with code: they do what they are told, and on receiving ether what their last lines say."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from eth_abi.abi import encode
from eth_utils.crypto import keccak
from vyper.compiler import compile_code

from tests.contracts.evm import Event
from tests.contracts.market import Market
from tests.contracts.rounds import AUDITOR, OUTSIDER

WALLET = """
payload: Bytes[16384]
value_back: uint256
tries: public(uint256)
is_done: public(bool)

@external
@payable
def run(target: address, data: Bytes[16384]):
    raw_call(target, data, value=msg.value)

@external
def arm(payload: Bytes[16384], value_back: uint256):
    self.payload = payload
    self.value_back = value_back

@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[65]) -> bytes4:
    return 0x1626ba7e

@external
@payable
def __default__():
"""
TAKES_IT = "    pass"
REENTERS = """
    again: Bytes[16384] = self.payload
    if len(again) == 0:
        again = abi_encode(msg.value, method_id=method_id("withdraw(uint256)"))
    self.tries += 1
    self.is_done = raw_call(msg.sender, again, value=self.value_back, revert_on_failure=False)
"""
"""Calls back as it is armed, by default to withdraw the same once more."""
INSISTS = "    assert self.is_done"
REVERTS = "    raise"
BURNS_ALL_GAS = "    assert msg.value == 0, UNREACHABLE"
REVERTS_WITH_1_MB = "    raw_revert(abi_encode(empty(uint256[32768])))"


@cache
def _compile(on_ether: str) -> dict[str, bytes]:
    compiled = compile_code(WALLET + on_ether, output_formats=["bytecode", "bytecode_runtime"])
    return {name: bytes.fromhex(code[2:]) for name, code in compiled.items()}


def wallet_code(on_ether: str) -> bytes:
    """What stands at a wallet's address."""
    return _compile(on_ether)["bytecode_runtime"]


def deploy_code(market: Market, on_ether: str) -> str:
    return market.chain.deploy(_compile(on_ether)["bytecode"])


@contextmanager
def wallet_at(market: Market, address: str, on_ether: str) -> Iterator["Wallet"]:
    """Give an account that is there already a wallet's code for a while, as a delegation does."""
    market.chain.set_code(address, wallet_code(on_ether))
    try:
        yield Wallet(market, on_ether, address)
    finally:
        market.chain.set_code(address, b"")


class Wallet:
    """An account with this code: a new one, or the one at an address."""

    def __init__(self, market: Market, on_ether: str, address: str | None = None) -> None:
        if address is None:
            address = deploy_code(market, on_ether)
            market.addresses.append(address)
        self.address = address
        self._market = market
        self._teller = (AUDITOR if address == OUTSIDER.address else OUTSIDER).address

    def call(self, name: str, *args: object, value_wei: int = 0) -> list[Event]:
        return self.run(self._market.calldata(name, *args), value_wei)

    def run(self, data: bytes, value_wei: int = 0) -> list[Event]:
        """Let the wallet call the contract; anybody may tell it to."""
        run = _calldata("run(address,bytes)", self._market.address, data)
        return self._market.send(self.address, self._teller, run, value_wei)

    def arm(self, payload: bytes, value_wei: int = 0) -> None:
        """Choose the call with which it reenters."""
        self._market.send(self.address, self._teller, _calldata("arm(bytes,uint256)", payload, value_wei))

    @property
    def tries(self) -> int:
        return int.from_bytes(self._market.chain.read(self.address, _calldata("tries()")), "big")

    @property
    def is_done(self) -> bool:
        return any(self._market.chain.read(self.address, _calldata("is_done()")))


def _calldata(signature: str, *args: object) -> bytes:
    types = signature[signature.index("(") + 1 : -1]
    return keccak(signature.encode())[:4] + encode(types.split(",") if types else [], args)
