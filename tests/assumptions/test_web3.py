"""What we believe of web3 and eth-tester beyond what their documentation promises."""

from importlib.metadata import version
from typing import Any

import pytest
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.backends.pyevm.main import _get_transaction_by_hash
from eth_tester.exceptions import TransactionNotFound
from web3.providers.rpc.utils import REQUEST_RETRY_ALLOWLIST

from validator.edges.devnet import _find_transaction
from validator.edges.rpc_node import READ_METHODS


class WatchedChain:
    """A py-evm chain that notes which blocks are read by number."""

    def __init__(self, chain: Any) -> None:
        self.visited: list[int] = []
        self._chain = chain

    def get_canonical_block_by_number(self, number: int) -> Any:
        self.visited.append(number)
        return self._chain.get_canonical_block_by_number(number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)


def test_eth_tester_is_the_version_whose_private_names_we_use() -> None:
    assert version("eth-tester") == "0.14.0b1"
    assert version("py-evm") == "0.12.1b1"


def test_web3_on_its_own_would_broadcast_a_transaction_again() -> None:
    """R1: one of the reasons why web3's HTTP provider is not used; what we repeat, it would too."""
    assert "eth_sendRawTransaction" in REQUEST_RETRY_ALLOWLIST
    assert "eth_sendRawTransaction" not in READ_METHODS
    assert set(READ_METHODS) <= set(REQUEST_RETRY_ALLOWLIST)


def test_our_search_finds_what_eth_testers_own_finds_and_reads_one_block() -> None:
    tester = EthereumTester(PyEVMBackend())
    account = tester.get_accounts()[0]
    payment = {"from": account, "to": account, "value": 1, "gas": 21_000}
    hashes = [bytes.fromhex(tester.send_transaction(payment)[2:]) for _ in range(5)]
    for number, transaction_hash in enumerate(hashes, start=1):
        chain = WatchedChain(tester.backend.chain)
        found = _find_transaction(chain, transaction_hash)
        assert chain.visited == [number]
        assert found == _get_transaction_by_hash(tester.backend.chain, transaction_hash)
    with pytest.raises(TransactionNotFound):
        _find_transaction(tester.backend.chain, bytes(32))


def test_our_search_finds_a_transaction_of_the_pending_block() -> None:
    tester = EthereumTester(PyEVMBackend())
    account = tester.get_accounts()[0]
    raw = {"from": tester.normalizer.normalize_inbound_account(account), "to": bytes(20), "value": 1, "gas": 21_000}
    transaction_hash = tester.backend.send_transaction(raw)
    assert _find_transaction(tester.backend.chain, transaction_hash)[2] == 0
