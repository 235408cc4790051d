"""Money in and out by the validator's key, and what the daemon finds of it (P7, H1)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import factories
from tests.operator.test_check import NOWHERE, SEED, SIGNER, deployed, settings_for
from validator.amounts import describe_ether
from validator.edges.chain import Chain, TransactionSender
from validator.edges.devnet import embedded_node
from validator.errors import BadInput
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.operator.funds import deposit, sweep
from validator.plan.terms import compute_validator_bond
from validator.protocol.effects import SendProbe
from validator.settings import Settings
from validator.types import Wei

AMOUNT_WEI = Wei(5 * 10**17)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with embedded_node() as url:
        yield url


@pytest.fixture
async def chain(url: str) -> AsyncIterator[Chain]:
    chain = await Chain.connect(url)
    yield chain
    await chain.aclose()


def journal_of(settings: Settings) -> Journal:
    settings.state.directory.mkdir(mode=0o700, exist_ok=True)
    identity = Identity(settings.network.chain_id, settings.network.contract, SIGNER.address)
    return Journal(settings.state.journal_place, derive_journal_key(SEED), identity)


async def test_a_deposit_is_credit(url: str, chain: Chain, tmp_path: Path) -> None:
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url)
    before_wei = await contract.credits_wei(SIGNER.address)
    assert "has a credit of 0.6 ETH" in await deposit(settings, AMOUNT_WEI)
    assert await contract.credits_wei(SIGNER.address) == before_wei + AMOUNT_WEI


async def test_what_was_deposited_between_is_no_stranger_to_the_daemon(url: str, chain: Chain, tmp_path: Path) -> None:
    """P7: the journal counts the transaction, so that the daemon gives its nonce to nothing else, and does not stop."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url)
    journal = journal_of(settings)
    journal.record(factories.make_planned(), [])
    journal.close()
    assert "has a credit of 0.6 ETH" in await deposit(settings, AMOUNT_WEI)
    journal = journal_of(settings)
    assert journal.transactions.next_nonce() == await chain.nonce(SIGNER.address)
    journal.close()


async def test_the_key_of_a_running_daemon_is_left_alone(url: str, chain: Chain, tmp_path: Path) -> None:
    """P7."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url)
    nonce = await chain.nonce(SIGNER.address)
    journal = journal_of(settings)
    with pytest.raises(BadInput, match="another process is using the journal"):
        await deposit(settings, AMOUNT_WEI)
    planned, effect = factories.make_planned(), SendProbe(factories.TASK_ID, 0)
    journal.record(planned, [effect])
    journal.transactions.reserve_nonce(effect.key, nonce)
    journal.close()
    with pytest.raises(BadInput, match="transactions of the daemon are on their way"):
        await deposit(settings, AMOUNT_WEI)
    assert await chain.nonce(SIGNER.address) == nonce


async def test_what_somebody_else_sent_is_not_taken_for_ours(url: str, chain: Chain, tmp_path: Path) -> None:
    """P7, P8: only `resume` accepts it."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url)
    journal_of(settings).close()
    await deposit(settings, AMOUNT_WEI)
    await TransactionSender(chain, SIGNER).send(NOWHERE, value_wei=1)
    nonce = await chain.nonce(SIGNER.address)
    with pytest.raises(BadInput, match=f"the chain has {nonce} transactions of .*, the journal knows of {nonce - 1}"):
        await deposit(settings, AMOUNT_WEI)
    assert await chain.nonce(SIGNER.address) == nonce


async def test_surplus_goes_to_the_cold_address_and_bonds_stay(url: str, chain: Chain, tmp_path: Path) -> None:
    """H1."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url, keys={"cold_address": NOWHERE})
    journal_of(settings).close()
    kept_wei = 8 * compute_validator_bond(Wei(10**15))
    assert await sweep(settings) == f"moved {describe_ether(10**17 - kept_wei)} to {NOWHERE}"
    assert await chain.balance_wei(NOWHERE) == 10**17 - kept_wei
    assert await contract.credits_wei(SIGNER.address) == kept_wei
    assert "nothing to move: the credit of 0.012 ETH" in await sweep(settings)
    journal = journal_of(settings)
    assert journal.transactions.next_nonce() == await chain.nonce(SIGNER.address)
    journal.close()


async def test_without_a_cold_address_nothing_moves(url: str, chain: Chain, tmp_path: Path) -> None:
    contract = await deployed(chain)
    with pytest.raises(BadInput, match="cold_address is missing"):
        await sweep(settings_for(tmp_path, chain.chain_id, contract.address, url))


async def test_another_chain_gets_nothing(url: str, chain: Chain, tmp_path: Path) -> None:
    """O1."""
    contract = await deployed(chain)
    nonce = await chain.nonce(SIGNER.address)
    with pytest.raises(BadInput, match=f"network.chain_id is 31337, the nodes are on chain {chain.chain_id}"):
        await deposit(settings_for(tmp_path, 31337, contract.address, url), AMOUNT_WEI)
    assert await chain.nonce(SIGNER.address) == nonce
