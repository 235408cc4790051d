"""The metered chain: py-evm, whose gas is a real chain's (Prague: cold and warm slots, EIP-7623's calldata floor)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eth_tester import EthereumTester, PyEVMBackend
from eth_utils.address import to_checksum_address

from tests.contracts.evm import Log
from tests.contracts.rounds import EVERYBODY

GAS_LIMIT = 10_000_000
FOR_GAS_WEI = 10**18


class PyEvm:
    """One block per transaction; `gas_used` is the last one's, the calldata floor included."""

    def __init__(self) -> None:
        self._tester = EthereumTester(PyEVMBackend())
        self.bank = str(self._tester.get_accounts()[0])
        """Deploys, and has ether without end."""
        for actor in EVERYBODY:
            self._tester.add_account(actor.key.hex())
        self.chain_id = int(self._tester.backend.chain.chain_id)
        self.gas_used = 0

    @property
    def now(self) -> int:
        return int(self._tester.get_block_by_number("latest")["timestamp"])

    @now.setter
    def now(self, timestamp_s: int) -> None:
        if timestamp_s != self.now:
            self._tester.time_travel(timestamp_s)

    def deploy(self, initcode: bytes) -> str:
        receipt = self._transact({"from": self.bank, "data": "0x" + initcode.hex()})
        return str(to_checksum_address(receipt["contract_address"]))

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[Log]:
        receipt = self._transact({"from": sender, "to": to, "data": "0x" + data.hex(), "value": value_wei})
        return [
            Log([bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:]))
            for log in receipt["logs"]
        ]

    def read(self, to: str, data: bytes) -> bytes:
        call = {"from": self.bank, "to": to, "data": "0x" + data.hex(), "gas": GAS_LIMIT}
        return bytes.fromhex(self._tester.call(call)[2:])

    def balance(self, address: str) -> int:
        return int(self._tester.get_balance(address))

    def fund(self, address: str, amount_wei: int) -> None:
        self._transact({"from": self.bank, "to": address, "value": amount_wei + FOR_GAS_WEI})

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        snapshot = self._tester.take_snapshot()
        try:
            yield
        finally:
            self._tester.revert_to_snapshot(snapshot)

    def _transact(self, transaction: dict[str, Any]) -> Any:
        sent = self._tester.send_transaction({**transaction, "gas": GAS_LIMIT})
        receipt = self._tester.get_transaction_receipt(sent)
        assert receipt["status"] == 1
        self.gas_used = int(receipt["gas_used"])
        return receipt
