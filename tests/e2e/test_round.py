"""A whole round, really trained and really settled, on both chains, compared with what the contract itself says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import by_strategy, simulate
from tests.support import require_or_skip
from validator.edges.chain import Chain
from validator.edges.contract import ContractEvent, TaskClosed, TaskSettled, TaskStatus, Touchstone
from validator.edges.devnet import anvil_node, embedded_node
from validator.errors import BadInput
from validator.types import Address, BlockNumber

VERDICTS = {TaskStatus.PAID: "paid", TaskStatus.REFUNDED: "refunded", TaskStatus.SLASHED: "slashed"}
REWARD_WEI = 10**18


@pytest.fixture(params=["embedded", "anvil"])
async def chain_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A chain that outlives the command, so that its events can be read afterwards."""
    node = embedded_node() if request.param == "embedded" else anvil_node()
    try:
        url = await node.__aenter__()
    except BadInput as error:
        require_or_skip(str(error))
        raise
    try:
        yield url
    finally:
        await node.__aexit__(None, None, None)


async def read_events(url: str, report: dict[str, Any]) -> list[ContractEvent]:
    chain = await Chain.connect(url)
    try:
        contract = await Touchstone.at(chain, Address(report["contract"]))
        return await contract.events(BlockNumber(0), (await chain.head()).number)
    finally:
        await chain.aclose()


async def test_a_round_ends_as_it_must_and_the_json_says_what_the_contract_says(chain_url: str, tmp_path: Path) -> None:
    # The command blocks this loop, not the chain: the embedded one has a thread of its own, anvil a process.
    report = simulate(tmp_path, "--chain", chain_url, "--miners", "honest=1,partial:0.25=1,base=1,noise=1")

    (honest,), (partial,) = by_strategy(report, "honest"), by_strategy(report, "partial:0.25")
    (base,), (noise,) = by_strategy(report, "base"), by_strategy(report, "noise")
    assert (honest["verdict"], base["verdict"], noise["verdict"]) == ("paid", "slashed", "slashed")
    assert partial["verdict"] in {"refunded", "slashed"}
    assert honest["hits"] >= 14
    assert base["hits"] <= 1
    assert noise["hits"] <= 1
    assert abs(partial["hits"] - partial["marks_trained_on"]) <= 2, "canaries hit are the canaries that were seen"

    events = await read_events(chain_url, report)
    for miner in report["miners"]:
        of_task = [event for event in events if "0x" + getattr(event, "task_id", b"").hex() == miner["task_id"]]
        (settled,) = [event for event in of_task if isinstance(event, TaskSettled)]
        (closed,) = [event for event in of_task if isinstance(event, TaskClosed)]
        recounted = sum(row.head_hash == reply for row, reply in zip(settled.rows, settled.replies, strict=True))
        assert miner["hits"] == settled.hits == recounted
        assert miner["verdict"] == VERDICTS[closed.outcome]
        assert (miner["to_miner_wei"], miner["burned_wei"]) == (closed.to_miner, closed.burned)
        assert miner["transactions"]["settle"] == "0x" + settled.log.tx_hash.hex()
        assert miner["transactions"]["close"] == "0x" + closed.log.tx_hash.hex()
        gained_wei = miner["balance_after_wei"] - miner["balance_before_wei"]
        gas_wei = closed.to_miner - closed.burned - gained_wei
        assert 0 < gas_wei < REWARD_WEI / 100, "balances move by the verdict and by gas, and by nothing else"


def test_the_same_seed_plants_identical_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    reports = []
    for name, seed in (("first", "7"), ("again", "7"), ("other", "8")):
        directory = tmp_path / name
        directory.mkdir()
        reports.append(simulate(directory, "--miners", "base=1", "--seed", seed, "--quiet"))
    first, again, other = (report["training_file_sha256"] for report in reports)
    assert first == again
    assert first != other


def test_exit_status_is_1_when_an_honest_miner_is_not_paid(tmp_path: Path) -> None:
    """A learning rate at which nothing is learnt in one epoch: honest work, no evidence of it."""
    arguments = ("--miners", "honest=1", "--epochs", "1", "--learning-rate", "1e-9")
    report = simulate(tmp_path, *arguments, status=1)
    assert by_strategy(report, "honest")[0]["verdict"] == "slashed"
    assert not report["is_as_expected"]
