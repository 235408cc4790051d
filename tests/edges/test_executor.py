"""What a refusal by the contract means to the validator: overtaken, too late, or a reason to stop."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.edges.test_contract import PAYER, SOURCE_DATA_HASH, URL, VALIDATOR, Market, N, open_market
from validator.config import DEV
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import TaskStatus, gas_limits_by_selector
from validator.edges.http import HttpClient
from validator.edges.transactions import TransactionManager
from validator.errors import BadEvidence
from validator.executor import ChainAndMiners
from validator.journal import Identity, Journal
from validator.marks.planting import PlantedDataset
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.protocol.commitment import keccak
from validator.protocol.effects import Challenge
from validator.protocol.events import TaskPlanned
from validator.protocol.state import Phase, TaskState
from validator.protocol.typed_data import OrderMessage
from validator.types import Hash32, UnixSeconds, Wei


@pytest.fixture
async def market(embedded_chain: Chain) -> Market:
    return await open_market(embedded_chain)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(DEV) as http:
        yield http


async def perform(market: Market, http: HttpClient, directory: Path, effect: Challenge, state: TaskState) -> None:
    """Carry an effect out as a validator does, transaction manager and journal included."""
    contract = market.contract
    identity = Identity(contract.chain.chain_id, contract.address, VALIDATOR.address)
    journal = Journal(directory / "journal.sqlite", keccak(b"journal"), identity)
    journal.record(state.planned, [effect])
    planted = PlantedDataset(
        rows=(),
        scheme=make_scheme("canary"),
        source_data_hash=SOURCE_DATA_HASH,
        dataset_salt=Hash32(bytes(32)),
        marks=(),
        mark_hashes=tuple(market.marks),
        tree=market.tree,
        generator="",
    )
    manager = TransactionManager(
        contract.chain,
        VALIDATOR,
        journal.transactions,
        stop=journal.stop,
        gas_limits=gas_limits_by_selector(),
        fee_limits=DEV.fee_limits,
        finality_depth=DEV.finality_depth,
    )
    executor = ChainAndMiners(
        contract=contract,
        transactions=manager,
        signer=VALIDATOR,
        http=http,
        secrets=Secrets(keccak(b"seed"), contract.chain.chain_id, contract.address),
        planted={market.tree.root: planted},
    )
    running = asyncio.create_task(manager.run())
    try:
        assert await executor.perform(effect, state) is None
    finally:
        running.cancel()
        await asyncio.wait([running])
        journal.close()


def submitted(market: Market) -> TaskState:
    terms = market.terms
    order = OrderMessage(
        VALIDATOR.address, Wei(0), Wei(0), terms.spec_hash, SOURCE_DATA_HASH, N, terms.k_pay, 7, UnixSeconds(0)
    )
    planned = TaskPlanned(market.task_id, terms, 0, order, b"", "{}", "tiny", URL, Hash32(bytes(32)))
    return TaskState(planned, Phase.SUBMITTED)


async def test_what_comes_too_late_stops_nobody(market: Market, http: HttpClient, tmp_path: Path) -> None:
    # Each block of the embedded chain is at least a second after the one before.
    market.terms = replace(market.terms, submitted_seconds=0)
    await market.open()
    await market.submit()
    state = submitted(market)
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.SUBMITTED


async def test_what_somebody_else_has_ended_is_left_alone(market: Market, http: HttpClient, tmp_path: Path) -> None:
    market.terms = replace(market.terms, submitted_seconds=0)
    await market.open()
    await market.submit()
    await market.contract.deposit(market.payer, Wei(1))
    await market.contract.poke(TransactionSender(market.contract.chain, PAYER), market.terms, 0)
    state = submitted(market)
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.VALIDATOR_LAPSED


async def test_evidence_that_is_refused_although_nothing_has_changed_stops_loudly(
    market: Market, http: HttpClient, tmp_path: Path
) -> None:
    await market.open()
    await market.submit()
    market.marks.pop()
    state = submitted(market)
    with pytest.raises(BadEvidence, match="not n leaves"):
        await perform(market, http, tmp_path, Challenge(state.task_id), state)


async def test_an_effect_is_done_when_the_chain_shows_it(market: Market, http: HttpClient, tmp_path: Path) -> None:
    await market.open()
    await market.submit()
    state = submitted(market)
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.CHALLENGED
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.CHALLENGED
