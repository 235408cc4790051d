"""A real node under the contract tests: blocks that hold several transactions, type-4 transactions, a real mempool.

Rule kept: the same calls give the same addresses, balances, logs and reasons as on `evm.PyRevm`, so bytes that were
signed for a contract there hold for the one here. Gas is free on both; any address may send on both.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from eth_utils.address import to_checksum_address

from tests.contracts.evm import DEPLOYER, GAS_LIMIT, GENESIS_S, Log, Reverted, revert_reason
from tests.support import require_or_skip
from validator.edges.devnet import anvil_node
from validator.errors import BadInput

BLOCK_GAS_LIMIT = 1_000_000_000
"""So high that a block holds any race, and that no block is full enough to raise the base fee from zero."""

OPTIONS = (
    *("--chain-id", "31337", "--timestamp", str(GENESIS_S), "--order", "fifo", "--no-mining"),
    *("--auto-impersonate", "--gas-limit", str(BLOCK_GAS_LIMIT), "--block-base-fee-per-gas", "0", "--gas-price", "0"),
)


class Call(NamedTuple):
    """A transaction to be mined together with others."""

    sender: str
    to: str
    data: bytes
    value_wei: int = 0


class RpcError(Exception):
    """The node refused a request; `code` as JSON-RPC has it, `data` the revert payload where there is one."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['message']} (code {error['code']})")
        self.code = int(error["code"])
        data = error.get("data")
        self.data = bytes.fromhex(data[2:]) if isinstance(data, str) else b""


@contextmanager
def running_anvil() -> Iterator["Anvil"]:
    """A fresh node; the test is skipped where anvil is not installed."""
    with asyncio.Runner() as runner:
        node = anvil_node(*OPTIONS)
        try:
            url = runner.run(node.__aenter__())
        except BadInput as error:
            require_or_skip(str(error))
        anvil = Anvil(url)
        try:
            yield anvil
        finally:
            anvil.close()
            runner.run(node.__aexit__(None, None, None))


class Anvil:
    """A running anvil node as a `Chain`: one block per call, all blocks at `now` until `now` is set.

    Block times may repeat; going back is refused with an RpcError where `now` is set.
    """

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._http = HTTPConnection(str(address.hostname), address.port)
        self.chain_id = int(self.rpc("eth_chainId"), 16)
        self.rpc("anvil_setBlockTimestampInterval", 0)
        self.now = GENESIS_S
        self.gas_used = 0
        """What the last transaction took."""

    @property
    def now(self) -> int:
        return self._now

    @now.setter
    def now(self, timestamp_s: int) -> None:
        self._now = timestamp_s
        self.rpc("evm_setNextBlockTimestamp", timestamp_s)

    def deploy(self, initcode: bytes) -> str:
        receipt = self._mine([self._send(DEPLOYER, None, initcode, 0)])[0]
        self._logs(receipt)
        return str(to_checksum_address(receipt["contractAddress"]))

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[Log]:
        (outcome,) = self.mine_together([Call(sender, to, data, value_wei)])
        if isinstance(outcome, Reverted):
            raise outcome
        return outcome

    def mine_together(self, calls: Sequence[Call]) -> list[list[Log] | Reverted]:
        """All calls in one block at `now`, in the given order; for each its logs or its revert."""
        outcomes: list[list[Log] | Reverted] = []
        for receipt in self._mine([self._send(*call) for call in calls]):
            try:
                outcomes.append(self._logs(receipt))
            except Reverted as reverted:
                outcomes.append(reverted)
        return outcomes

    def read(self, to: str, data: bytes) -> bytes:
        call = {"from": DEPLOYER, "to": to, "data": "0x" + data.hex(), "gas": hex(GAS_LIMIT)}
        try:
            return bytes.fromhex(self.rpc("eth_call", call, "latest")[2:])
        except RpcError as error:
            if error.code != 3:
                raise
            raise Reverted(revert_reason(error.data)) from None

    def balance(self, address: str) -> int:
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def fund(self, address: str, amount_wei: int) -> None:
        """Ether out of nothing, without a call and without a block."""
        self.rpc("anvil_setBalance", address, hex(self.balance(address) + amount_wei))

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        snapshot = self.rpc("evm_snapshot")
        try:
            yield
        finally:
            assert self.rpc("evm_revert", snapshot)

    def send_raw(self, transaction: bytes) -> list[Log]:
        """A transaction that its sender signed, such as one of type 4, in a block of its own."""
        return self._logs(self._mine([self.rpc("eth_sendRawTransaction", "0x" + transaction.hex())])[0])

    def set_code(self, address: str, code: bytes) -> None:
        self.rpc("anvil_setCode", address, "0x" + code.hex())

    def code(self, address: str) -> bytes:
        return bytes.fromhex(self.rpc("eth_getCode", address, "latest")[2:])

    def close(self) -> None:
        self._http.close()

    def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC request; RpcError if the node refuses it."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._http.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(self._http.getresponse().read())
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def _send(self, sender: str, to: str | None, data: bytes, value_wei: int) -> str:
        transaction = {"from": sender, "data": "0x" + data.hex(), "value": hex(value_wei), "gas": hex(GAS_LIMIT)}
        if to is not None:
            transaction["to"] = to
        return str(self.rpc("eth_sendTransaction", {**transaction, "gasPrice": "0x0"}))

    def _mine(self, hashes: Sequence[str]) -> list[dict[str, Any]]:
        """The receipts of these waiting transactions, mined in one block at `now` and in this order."""
        self.rpc("evm_mine")
        receipts = [self.rpc("eth_getTransactionReceipt", transaction_hash) for transaction_hash in hashes]
        block = self.rpc("eth_getBlockByNumber", "latest", False)
        assert block["transactions"] == list(hashes)
        assert int(block["timestamp"], 16) == self.now
        self.gas_used = int(receipts[-1]["gasUsed"], 16)
        return receipts

    def _logs(self, receipt: dict[str, Any]) -> list[Log]:
        if receipt["status"] != "0x1":
            call = self.rpc("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
            if call["error"] != "execution reverted":
                raise RuntimeError(call["error"])
            raise Reverted(revert_reason(bytes.fromhex(call.get("output", "0x")[2:])))
        return [
            Log([bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:]))
            for log in receipt["logs"]
        ]
