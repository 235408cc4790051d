"""Gas of an honest task and of the largest settlement, on py-evm, whose gas is a real chain's (Prague, EIP-7623)."""

from dataclasses import replace
from typing import Any

import pytest
from eth_tester import EthereumTester, PyEVMBackend
from eth_utils.address import to_checksum_address

from contracts import TaskState
from tests.contracts.evm import Log
from tests.contracts.market import Market
from tests.contracts.rounds import EVERYBODY, MINER
from validator.protocol.commitment import MerkleTree
from validator.types import Hash32

MAX_TRANSACTION_BYTES = 128 * 1024
GAS_LIMIT = 10_000_000
FOR_GAS_WEI = 10**18
K = 100_000


class PyEvm:
    """The metered chain: one block per transaction; `gas_used` is the last one's, the calldata floor included."""

    def __init__(self) -> None:
        self._tester = EthereumTester(PyEVMBackend())
        self._bank = self._tester.get_accounts()[0]
        for actor in EVERYBODY:
            self._tester.add_account(actor.key.hex())
        self.chain_id = int(self._tester.backend.chain.chain_id)
        self.gas_used = 0

    @property
    def now(self) -> int:
        return int(self._tester.get_block_by_number("latest")["timestamp"])

    @now.setter
    def now(self, timestamp_s: int) -> None:
        self._tester.time_travel(timestamp_s)

    def deploy(self, initcode: bytes) -> str:
        receipt = self._transact({"from": self._bank, "data": "0x" + initcode.hex()})
        return str(to_checksum_address(receipt["contract_address"]))

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[Log]:
        receipt = self._transact({"from": sender, "to": to, "data": "0x" + data.hex(), "value": value_wei})
        return [
            Log([bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:]))
            for log in receipt["logs"]
        ]

    def read(self, to: str, data: bytes) -> bytes:
        call = {"from": self._bank, "to": to, "data": "0x" + data.hex(), "gas": GAS_LIMIT}
        return bytes.fromhex(self._tester.call(call)[2:])

    def balance(self, address: str) -> int:
        return int(self._tester.get_balance(address))

    def fund(self, address: str, amount_wei: int) -> None:
        self._transact({"from": self._bank, "to": address, "value": amount_wei + FOR_GAS_WEI})

    def _transact(self, transaction: dict[str, Any]) -> Any:
        sent = self._tester.send_transaction({**transaction, "gas": GAS_LIMIT})
        receipt = self._tester.get_transaction_receipt(sent)
        assert receipt["status"] == 1
        self.gas_used = receipt["gas_used"]
        return receipt


@pytest.fixture
def metered() -> Market:
    return Market(PyEvm())


@pytest.mark.parametrize(("n", "max_gas"), [(16, 450_000), (64, 700_000)])
def test_an_honest_task(metered: Market, n: int, max_gas: int) -> None:
    """The dearest case: every account's first task, each slot written for the first time."""
    metered.call(MINER.address, "withdraw", metered.credits(MINER.address))
    round_ = metered.make_round(n=n, k=1_000)
    gas = {}
    for name, call in (
        ("open_task", lambda: metered.open(round_)),
        ("accept", lambda: metered.accept(round_)),
        ("submit", lambda: metered.submit(round_)),
        ("settle", lambda: metered.settle(round_, hits=n)),
        ("withdraw", lambda: metered.call(MINER.address, "withdraw", round_.terms.reward)),
    ):
        call()
        gas[name] = metered.chain.gas_used
    print(f"\nhonest task, n = {n}: {sum(gas.values()):,} gas = {gas}")
    assert metered.task(round_).state is TaskState.PAID
    assert sum(gas.values()) <= max_gas


def test_the_largest_settlement_fits_a_transaction_and_a_block(metered: Market) -> None:
    """E9: n = 64, K = 100,000, every row proved."""
    round_ = metered.make_round(n=64, k=64)
    fillers = [Hash32(i.to_bytes(32, "big")) for i in range(K - 64)]
    round_ = replace(round_, tree=MerkleTree([*round_.leaves, *fillers]))
    round_ = metered.recommit(metered.retarget(round_, dataset_root=round_.tree.root))
    metered.open(round_)
    metered.accept(round_)
    metered.submit(round_)
    size_bytes = len(metered.settle_calldata(round_, hits=0))
    metered.settle(round_, hits=0)
    print(f"\nslashing settle, n = 64, K = {K:,}: {size_bytes:,} bytes, {metered.chain.gas_used:,} gas")
    assert size_bytes < MAX_TRANSACTION_BYTES
    assert metered.chain.gas_used < 5_000_000
