"""Conformance: whatever a client can see of the embedded chain, it sees of anvil too."""

import asyncio
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.edges.conftest import NO_FLOORS, connected
from tests.support import require_or_skip
from validator.edges import chain as chain_module
from validator.edges import devnet
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Deposited, TaskStatus, Touchstone
from validator.edges.devnet import anvil_node, embedded_node, open_chain
from validator.edges.keys import LocalSigner, SecretBytes, Signer, dev_mnemonic_signer
from validator.errors import BadInput, ChainUnreachable, Fatal, Reverted
from validator.types import Address, BlockNumber, TaskId, Wei

STRANGER = LocalSigner(SecretBytes(b"\1" * 32))
GRANT_WEI = Wei(devnet.BALANCE_ETHER * 10**18)


async def test_the_accounts_of_the_public_mnemonic_are_funded(chain: Chain) -> None:
    for index in range(devnet.ACCOUNTS):
        assert await chain.balance_wei(dev_mnemonic_signer(index).address) == GRANT_WEI
    assert await chain.balance_wei(STRANGER.address) == 0


async def test_the_chain_is_a_listed_development_chain(chain: Chain) -> None:
    assert chain.is_dev_chain


async def test_a_deployed_contract_is_found_at_its_address(chain: Chain, contract: Touchstone) -> None:
    found = await Touchstone.at(chain, contract.address)
    assert await found.network() == NO_FLOORS


async def test_nothing_is_found_where_no_contract_is(chain: Chain) -> None:
    with pytest.raises(BadInput, match="there is no contract at 0x"):
        await Touchstone.at(chain, STRANGER.address)


async def test_another_contract_is_not_taken_for_touchstone(chain: Chain, payer: TransactionSender) -> None:
    # Init code that deploys the one byte STOP.
    receipt = await payer.send(None, bytes.fromhex("600160005360016000f3"))
    assert receipt.contract_address is not None
    with pytest.raises(BadInput, match="is not this version of Touchstone"):
        await Touchstone.at(chain, receipt.contract_address)


async def test_a_deposit_moves_the_amount_and_the_gas(
    chain: Chain, contract: Touchstone, payer: TransactionSender
) -> None:
    before = await chain.balance_wei(payer.address)
    receipt = await contract.deposit(payer, Wei(1_000))
    assert await contract.credits_wei(payer.address) == 1_000
    assert await chain.balance_wei(contract.address) == 1_000
    assert await chain.balance_wei(payer.address) == before - 1_000 - receipt.cost_wei
    assert receipt.cost_wei > 0


async def test_an_event_is_the_same_in_the_receipt_and_in_the_logs(
    contract: Touchstone, payer: TransactionSender
) -> None:
    receipt = await contract.deposit(payer, Wei(5))
    (event,) = await contract.events(receipt.block_number, receipt.block_number)
    assert event == Deposited(receipt.logs[0], payer.address, Wei(5))
    assert (event.log.tx_hash, event.log.block_hash) == (receipt.tx_hash, receipt.block_hash)


async def test_gas_is_the_same_on_both_chains() -> None:
    gas = []
    for kind in ("embedded", "anvil"):
        async with connected(kind) as chain:
            sender = TransactionSender(chain, dev_mnemonic_signer(0))
            contract = await Touchstone.deploy(sender, NO_FLOORS)
            deposit = await contract.deposit(sender, Wei(10**18))
            withdraw = await contract.withdraw(sender, Wei(10**17))
            gas.append((deposit.gas_used, withdraw.gas_used))
    assert gas[0] == gas[1]


async def test_a_refusal_shows_its_reason_before_anything_is_sent(
    chain: Chain, contract: Touchstone, payer: TransactionSender
) -> None:
    before = await chain.head()
    with pytest.raises(Reverted) as refusal:
        await contract.withdraw(payer, Wei(1))
    assert refusal.value.reason == "credits: too little"
    assert await chain.head() == before


async def test_a_refusal_in_a_mined_transaction_shows_its_reason(
    chain: Chain, contract: Touchstone, payer: TransactionSender
) -> None:
    call = bytes.fromhex("2e1a7d4d") + (1).to_bytes(32, "big")
    raw = await _sign(chain, dev_mnemonic_signer(1), contract.address, call)
    with pytest.raises(Reverted) as refusal:
        await TransactionSender(chain, dev_mnemonic_signer(1)).resume(raw)
    assert refusal.value.reason == "credits: too little"


async def test_a_refusal_without_reason_says_so(chain: Chain, contract: Touchstone, payer: TransactionSender) -> None:
    call = bytes.fromhex("2e1a7d4d") + bytes(32)
    with pytest.raises(Reverted) as refusal:
        await payer.send(contract.address, call, value_wei=1)
    assert refusal.value.reason == "no reason given"
    with pytest.raises(Reverted) as refusal:
        await TransactionSender(chain, dev_mnemonic_signer(1)).resume(
            await _sign(chain, dev_mnemonic_signer(1), contract.address, call, value_wei=1)
        )
    assert refusal.value.reason == "no reason given"


async def test_running_out_of_gas_is_a_refusal(chain: Chain, contract: Touchstone) -> None:
    call = bytes.fromhex("d0e30db0")
    raw = await _sign(chain, dev_mnemonic_signer(1), contract.address, call, value_wei=1, gas=22_000)
    with pytest.raises(Reverted):
        await TransactionSender(chain, dev_mnemonic_signer(1)).resume(raw)


async def test_an_empty_purse_is_no_refusal_of_the_contract(chain: Chain, contract: Touchstone) -> None:
    with pytest.raises(Fatal) as error:
        await contract.deposit(TransactionSender(chain, STRANGER), Wei(1))
    assert not isinstance(error.value, Reverted)


async def test_reading_costs_nothing(contract: Touchstone, chain: Chain) -> None:
    data = bytes.fromhex("2e1a7d4d") + bytes(32)
    assert await chain.call(contract.address, data, sender=STRANGER.address) == b""


async def test_many_senders_at_once_all_get_through(chain: Chain, contract: Touchstone) -> None:
    senders = [TransactionSender(chain, dev_mnemonic_signer(index)) for index in range(6)]
    receipts = await asyncio.gather(*(contract.deposit(sender, Wei(7)) for sender in senders for _ in range(4)))
    assert len({receipt.tx_hash for receipt in receipts}) == 24
    for sender in senders:
        assert await contract.credits_wei(sender.address) == 28
    events = await contract.events(BlockNumber(0), (await chain.head()).number)
    assert sum(isinstance(event, Deposited) for event in events) == 24


async def test_events_come_in_the_order_of_the_chain_whatever_the_range(
    chain: Chain, contract: Touchstone, payer: TransactionSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for amount in range(1, 6):
        await contract.deposit(payer, Wei(amount))
    head = await chain.head()
    for blocks in (1, 2, 3, 1_000):
        monkeypatch.setattr(chain_module, "MAX_LOG_RANGE_BLOCKS", blocks)
        events = await contract.events(BlockNumber(0), head.number)
        assert [event.amount for event in events if isinstance(event, Deposited)] == [1, 2, 3, 4, 5]
    assert await contract.events(BlockNumber(head.number + 1), head.number) == []


async def test_finality_is_a_depth_or_the_tag_of_the_node(
    chain: Chain, contract: Touchstone, payer: TransactionSender
) -> None:
    for _ in range(3):
        await contract.deposit(payer, Wei(1))
    head = await chain.head()
    assert await chain.finalized(0) == head
    assert (await chain.finalized(2)).number == head.number - 2
    assert (await chain.finalized(2)) == await chain.block(BlockNumber(head.number - 2))
    assert (await chain.finalized(1_000)).number == 0
    assert (await chain.finalized(None)).number <= head.number


async def test_what_nobody_registered_reads_as_nothing(contract: Touchstone) -> None:
    assert (await contract.task_state(TaskId(b"\7" * 32))).status is TaskStatus.NONE
    assert (await contract.miner(STRANGER.address)).epoch == 0
    assert await contract.validator_nonce(STRANGER.address) == 0


async def test_block_times_follow_the_clock(chain: Chain, contract: Touchstone, payer: TransactionSender) -> None:
    receipt = await contract.deposit(payer, Wei(1))
    first = await chain.block(receipt.block_number)
    second = await chain.block((await contract.deposit(payer, Wei(1))).block_number)
    assert 0 <= first.timestamp_s - int(time.time()) + 5 <= 10
    assert second.timestamp_s >= first.timestamp_s


async def test_the_embedded_chain_catches_up_with_the_clock_after_a_pause(
    embedded_chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = TransactionSender(embedded_chain, dev_mnemonic_signer(0))
    later_s = int(time.time()) + 1_000
    monkeypatch.setattr(devnet, "time", SimpleNamespace(time=lambda: later_s))
    receipt = await sender.send(STRANGER.address, value_wei=1)
    assert (await embedded_chain.block(receipt.block_number)).timestamp_s == later_s


async def test_two_embedded_chains_run_side_by_side() -> None:
    async with connected("embedded") as one, connected("embedded") as other:
        await TransactionSender(one, dev_mnemonic_signer(0)).send(STRANGER.address, value_wei=1)
        assert await one.balance_wei(STRANGER.address) == 1
        assert await other.balance_wei(STRANGER.address) == 0


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
async def test_a_node_ends_with_its_context(kind: str) -> None:
    async with connected(kind):
        pass
    try:
        async with open_chain(kind) as url:
            await (await Chain.connect(url)).aclose()
    except BadInput as error:
        require_or_skip(str(error))
    with pytest.raises(ChainUnreachable):
        await Chain.connect(url)


async def test_a_url_is_used_as_it_is() -> None:
    async with embedded_node() as url, open_chain(url) as same:
        assert same == url


async def test_an_unknown_kind_of_chain_is_bad_input() -> None:
    with pytest.raises(BadInput, match="unknown chain 'ganache'"):
        open_chain("ganache")


async def test_without_anvil_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANVIL_BIN", raising=False)
    monkeypatch.setattr(devnet, "ANVIL_INSTALL_FOLDER", tmp_path)
    with pytest.raises(BadInput, match="make anvil"):
        await anvil_node().__aenter__()
    monkeypatch.setenv("ANVIL_BIN", str(tmp_path / "missing"))
    with pytest.raises(BadInput, match="not an executable file"):
        await anvil_node().__aenter__()


async def test_an_anvil_that_does_not_start_says_why() -> None:
    try:
        with pytest.raises(Fatal, match=r"anvil ended with status \d+: .*no-such-option"):
            await anvil_node("--no-such-option").__aenter__()
    except BadInput as error:
        require_or_skip(str(error))


@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_anvil_does_not_outlive_its_parent(death: signal.Signals) -> None:
    async with connected("anvil"):
        pass
    script = (
        "import asyncio\n"
        "from validator.edges.devnet import anvil_node\n"
        "async def main():\n"
        "    async with anvil_node() as url:\n"
        "        print(url, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    url = (await parent.stdout.readline()).decode().strip()
    await (await Chain.connect(url)).aclose()
    parent.send_signal(death)
    await parent.wait()
    await _wait_until_closed(url)


async def _wait_until_closed(url: str) -> None:
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)
    pytest.fail(f"something still listens at {url}")


async def _sign(
    chain: Chain, signer: Signer, to: Address, data: bytes, *, value_wei: int = 0, gas: int = 100_000
) -> bytes:
    """A first transaction of the signer, without the estimate that would refuse it."""
    return await signer.sign_transaction(
        {
            "type": 2,
            "chainId": chain.chain_id,
            "nonce": 0,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
            "gas": gas,
            "to": to,
            "value": value_wei,
            "data": data,
        }
    )
