"""Deploying once, whatever goes wrong between the signature and the receipt."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contracts import load_artifact
from tests.edges.conftest import NO_FLOORS
from tests.edges.fault_proxy import FaultProxy, faulty
from tests.edges.test_chain import answering, serving
from validator.deployment.address_book import AddressBook, Deployment, identify
from validator.deployment.deploy import Deployed, deploy
from validator.deployment.parameters import Parameters
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, Touchstone, encode_deployment
from validator.edges.devnet import embedded_node
from validator.edges.keys import LocalSigner, SecretBytes, dev_mnemonic_signer
from validator.errors import BadInput, ChainUnreachable, WithoutReason
from validator.protocol.commitment import keccak
from validator.types import Address, BlockNumber

DEPLOYER = dev_mnemonic_signer(3)
NETWORK = NO_FLOORS._replace(unstake_delay_seconds=60, guardian=DEPLOYER.address)
OTHER_NETWORK = NETWORK._replace(min_accept_seconds=5)


@pytest.fixture
def book(tmp_path: Path) -> AddressBook:
    return AddressBook(tmp_path / "data" / "contracts.json")


class Run:
    """One run of the command: a sender that knows of no other, and what was said."""

    def __init__(self, chain: Chain, book: AddressBook) -> None:
        self.chain = chain
        self.book = book
        self.said: list[str] = []

    async def deploy(self, network: Network = NETWORK, *, is_another: bool = False) -> Deployed:
        sender = TransactionSender(self.chain, DEPLOYER)
        return await deploy(sender, network, self.book, is_another=is_another, say=self.said.append)


async def count_contracts(chain: Chain) -> int:
    """How many contracts the deployer has ever created on this chain."""
    created = 0
    for number in range(1, (await chain.head()).number + 1):
        block = await chain.ask(lambda result: result, "eth_getBlockByNumber", hex(number), True)
        created += sum(
            transaction["from"].lower() == DEPLOYER.address.lower() and not transaction.get("to")
            for transaction in block["transactions"]
        )
    return created


@asynccontextmanager
async def flaky_chain() -> AsyncIterator[tuple[FaultProxy, Chain]]:
    async with embedded_node() as upstream, faulty(upstream) as (node, url):
        chain = await Chain.connect(url)
        yield node, chain
        await chain.aclose()


async def test_deploying_twice_is_deploying_once(chain: Chain, book: AddressBook) -> None:
    first = await Run(chain, book).deploy()
    second = await Run(chain, book).deploy()
    assert (first.is_new, second.is_new) == (True, False)
    assert first.deployment == second.deployment
    assert await count_contracts(chain) == 1
    contract = await Touchstone.at(chain, Address(first.deployment.address))
    assert await contract.network() == NETWORK
    assert book.deployments(await identify(chain)) == [first.deployment]
    assert book.path.stat().st_mode & 0o777 == 0o600


async def test_the_book_says_what_the_chain_says(chain: Chain, book: AddressBook) -> None:
    before = await chain.balance_wei(DEPLOYER.address)
    run = Run(chain, book)
    deployment = (await run.deploy()).deployment
    receipt = await chain.receipt(deployment.tx_hash)
    assert (receipt.contract_address, receipt.block_number) == (deployment.address, deployment.block_number)
    assert deployment.cost_wei == receipt.cost_wei == before - await chain.balance_wei(DEPLOYER.address)
    assert deployment.source_sha256 == load_artifact().source_sha256
    price = re.search(r"at most ([\d,]+) gas at .* gwei", run.said[0])
    assert price is not None
    assert receipt.gas_used <= int(price[1].replace(",", "")) < 2 * receipt.gas_used


async def test_other_parameters_need_to_be_asked_for(embedded_chain: Chain, book: AddressBook) -> None:
    first = await Run(embedded_chain, book).deploy()
    with pytest.raises(BadInput, match=f"{first.deployment.address}: --another deploys one more"):
        await Run(embedded_chain, book).deploy(OTHER_NETWORK)
    second = await Run(embedded_chain, book).deploy(OTHER_NETWORK, is_another=True)
    assert second.is_new
    again = await Run(embedded_chain, book).deploy(OTHER_NETWORK, is_another=True)
    assert again == Deployed(second.deployment, second.chain_key, is_new=False)
    assert (await Run(embedded_chain, book).deploy()).deployment == first.deployment
    assert await count_contracts(embedded_chain) == 2


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_what_was_signed_before_a_failure_is_sent_again(lost: str, book: AddressBook) -> None:
    """P3, P4."""
    async with flaky_chain() as (node, chain):
        losing = {"eth_sendRawTransaction", "eth_getTransactionByHash", "eth_getTransactionReceipt"}
        (node.lose_request if lost == "request" else node.lose_answer).update(losing)
        with pytest.raises(ChainUnreachable) as error:
            await Run(chain, book).deploy()
        assert "the same command goes on with it" in error.value.__notes__[0]
        (intent,) = book.deployments(await identify(chain))
        assert not intent.is_mined
        assert await chain.nonce(DEPLOYER.address) == (lost == "answer")
        node.lose_request.clear()
        node.lose_answer.clear()
        deployed = await Run(chain, book).deploy()
        assert deployed.is_new == (lost == "request")
        assert deployed.deployment.raw == intent.raw
        assert deployed.deployment.address == intent.address
        assert await count_contracts(chain) == await chain.nonce(DEPLOYER.address) == 1


async def test_what_was_begun_is_finished_even_by_a_run_that_wants_another(book: AddressBook) -> None:
    async with flaky_chain() as (node, chain):
        node.lose_request.add("eth_sendRawTransaction")
        with pytest.raises(ChainUnreachable):
            await Run(chain, book).deploy()
        node.lose_request.clear()
        await Run(chain, book).deploy(OTHER_NETWORK, is_another=True)
        assert [entry.parameters for entry in book.deployments(await identify(chain))] == [NETWORK, OTHER_NETWORK]
        assert await count_contracts(chain) == 2


async def test_nothing_leaves_before_the_intent_is_on_disk(book: AddressBook) -> None:
    """K1."""
    async with flaky_chain() as (node, chain):
        book.path.parent.mkdir()
        book.path.with_name(f".{book.path.name}.unfinished").mkdir()
        with pytest.raises(BadInput, match="cannot write"):
            await Run(chain, book).deploy()
        assert "eth_sendRawTransaction" not in node.seen


async def test_bytes_whose_nonce_was_used_otherwise_are_given_up(book: AddressBook) -> None:
    async with flaky_chain() as (node, chain):
        node.lose_request.add("eth_sendRawTransaction")
        with pytest.raises(ChainUnreachable):
            await Run(chain, book).deploy()
        node.lose_request.clear()
        (intent,) = book.deployments(await identify(chain))
        await TransactionSender(chain, DEPLOYER).send(dev_mnemonic_signer(1).address, value_wei=1)
        run = Run(chain, book)
        deployed = await run.deploy()
        assert f"{intent.address} was given up" in run.said[0]
        assert book.deployments(await identify(chain)) == [deployed.deployment]
        assert await count_contracts(chain) == 1


async def test_a_deployment_that_ran_out_of_gas_is_told_and_then_tried_anew(chain: Chain, book: AddressBook) -> None:
    signed = await Touchstone.sign_deployment(TransactionSender(chain, DEPLOYER), NETWORK)
    fees = {"gas": 1_000_000, "maxFeePerGas": signed.max_fee_per_gas_wei, "maxPriorityFeePerGas": 1}
    call = {"type": 2, "chainId": chain.chain_id, "nonce": 0, "value": 0, "data": encode_deployment(NETWORK)}
    raw = await DEPLOYER.sign_transaction(call | fees)
    assert signed.creates is not None
    book.path.parent.mkdir()
    book.put(
        await identify(chain),
        Deployment(
            address=signed.creates,
            deployer=DEPLOYER.address,
            nonce=0,
            network=Parameters(**NETWORK._asdict()),
            source_sha256=load_artifact().source_sha256,
            compiler="",
            transaction_hash=f"0x{keccak(raw).hex()}",
            raw_transaction=f"0x{raw.hex()}",
        ),
    )
    with pytest.raises(WithoutReason):
        await Run(chain, book).deploy()
    run = Run(chain, book)
    deployed = await run.deploy()
    assert deployed.is_new
    assert deployed.deployment.nonce == 1
    assert f"{signed.creates} was given up" in run.said[0]


async def test_a_development_chain_that_was_started_anew_gets_a_new_contract(book: AddressBook) -> None:
    """Its first block is the same, so only the code tells."""
    async with embedded_node() as url:
        chain = await Chain.connect(url)
        anew = await chain.ask(str, "evm_snapshot")
        first = await Run(chain, book).deploy()
        await chain.ask(lambda answer: answer, "evm_revert", anew)
        run = Run(chain, book)
        second = await run.deploy()
        assert second.chain_key == first.chain_key
        assert second.is_new
        assert "was started anew" in run.said[0]
        assert await count_contracts(chain) == 1
        await chain.aclose()


async def test_another_process_with_the_same_book_is_kept_out(embedded_chain: Chain, book: AddressBook) -> None:
    """P7."""
    with AddressBook(book.path).locked(), pytest.raises(BadInput, match="another process is deploying"):
        await Run(embedded_chain, book).deploy()


async def test_a_balance_that_may_not_suffice_is_refused_before_anything_is_signed_for_good(
    chain: Chain, book: AddressBook
) -> None:
    """O3."""
    poor = TransactionSender(chain, LocalSigner(SecretBytes(b"\6" * 32)))
    with pytest.raises(BadInput, match=r"has 0 ETH on chain \d+, and deploying may take 0\.\d+ ETH"):
        await deploy(poor, NETWORK, book, is_another=False, say=lambda _line: None)
    assert book.deployments(await identify(chain)) == []


async def test_bytes_that_are_none_are_told_before_they_are_sent(embedded_chain: Chain, book: AddressBook) -> None:
    deployment = (await Run(embedded_chain, book).deploy()).deployment
    book.path.write_text(book.path.read_text().replace(deployment.raw_transaction, "0xyz"))
    with pytest.raises(BadInput, match=r"is no address book: chains\..*raw_transaction"):
        await Run(embedded_chain, book).deploy()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "chains": {"1:0x": [{}]}}', '{"a": 1}'])
async def test_a_file_that_is_no_address_book_is_left_alone(embedded_chain: Chain, tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(BadInput, match="is no address book"):
        await Run(embedded_chain, AddressBook(path)).deploy()
    assert path.read_text() == text


async def test_a_chain_without_base_fee_in_its_first_block_has_a_key() -> None:
    """Ethereum's own: EIP-1559 came later."""
    genesis = {"number": "0x0", "hash": "0x" + "ab" * 32, "timestamp": "0x0"}
    async with serving(answering(eth_getBlockByNumber=genesis)) as url:
        chain = await Chain.connect(url)
        assert await identify(chain) == "31337:0x" + "ab" * 32
        assert (await chain.block(BlockNumber(0))).base_fee_wei == 0
        await chain.aclose()
