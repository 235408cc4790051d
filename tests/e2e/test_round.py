"""A whole round, really trained and really settled, on both chains, compared with what the contract itself says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import sentinels
from tests.e2e.command import CHEAPEST_TRAINING, by_strategy, simulate
from tests.support import require_or_skip
from validator.config import MIN_COVERAGE_BPS
from validator.edges.chain import Chain
from validator.edges.contract import ContractEvent, TaskClosed, TaskSettled, TaskStatus, Touchstone
from validator.edges.devnet import anvil_node, embedded_node
from validator.edges.keys import derive_signer
from validator.errors import BadInput
from validator.evidence.bundle import Bundle
from validator.evidence.check import check_bundle
from validator.marks.planting import hash_source_data
from validator.marks.schemes import Canary
from validator.marks.secrets import Secrets
from validator.simulation.options import default_rows
from validator.types import Address, BlockNumber

VERDICTS = {TaskStatus.PAID: "paid", TaskStatus.REFUNDED: "refunded", TaskStatus.SLASHED: "slashed"}
REWARD_WEI = 10**18


@pytest.fixture(params=["embedded", pytest.param("anvil", marks=pytest.mark.soak)])
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
    miners = "honest=1,partial:0.25=1,base=1,noise=1"
    report = simulate(tmp_path, "--chain", chain_url, "--miners", miners, *CHEAPEST_TRAINING)

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
        bundle = Bundle.parse((tmp_path / "run" / "bundles" / f"0x{settled.bundle_hash.hex()}.json").read_bytes())
        assert check_bundle(bundle) == [], "I7: whoever has the evidence comes to the same verdict"
        assert (bundle.bundle_hash, bundle.test.hits) == (settled.bundle_hash, settled.hits)
        assert miner["transactions"]["settle"] == "0x" + settled.log.tx_hash.hex()
        assert miner["transactions"]["close"] == "0x" + closed.log.tx_hash.hex()
        gained_wei = miner["balance_after_wei"] - miner["balance_before_wei"]
        gas_wei = closed.to_miner - closed.burned - gained_wei
        assert 0 < gas_wei < REWARD_WEI / 100, "balances move by the verdict and by gas, and by nothing else"
    assert_no_secret_is_left(tmp_path / "run", report)


def assert_no_secret_is_left(directory: Path, report: dict[str, Any]) -> None:
    """H5, I5, K8, D3: journal, logs and metrics hold no key, salt, token, draw or row; miners keep what they got."""
    seed = report["seed"].to_bytes(32, "big", signed=True)
    roles = ["deployer", "payer", "validator"]
    roles += [f"{kind}/{miner['name']}" for miner in report["miners"] for kind in ("miner", "evidence")]
    payer, validator = (derive_signer(seed, role).address for role in ("payer", "validator"))
    rows = default_rows(report["rows"], report["seed"])
    chain_id, contract, n = report["chain_id"], Address(report["contract"]), len(report["marks"])
    dataset = (payer, hash_source_data(rows), report["scheme"], n, Canary().w)
    secrets = {
        **sentinels.secrets_of_validator(
            seed, chain_id, contract, validator=validator, tasks=len(report["miners"]), roles=roles
        ),
        **sentinels.secrets_of_texts(row.prompt for row in rows),
        **{f"draw {mark['row_index']}": mark["head"].encode() for mark in report["marks"]},
        **{
            f"token for {miner['name']}": sentinels.session_token_prefix(validator, miner["address"])
            for miner in report["miners"]
        },
        "dataset salt": Secrets(seed, chain_id, contract).dataset_salt(*dataset),
    }
    assert len(secrets) > 300
    assert {"journal.sqlite", "log.jsonl", "metrics.prom"} <= {path.name for path in directory.iterdir()}
    theirs, public = directory / "miners", set((directory / "bundles").glob("0x*.json"))
    assert sentinels.find_in_files(directory, secrets, ignored=[theirs, *public]) == []
    assert any(line.startswith("text") for line in sentinels.find_in_files(theirs, secrets)), "it would be found"
    for path in public:
        found = sentinels.find_in_bytes(path.read_bytes(), secrets)
        assert not [name for name in found if "key" in name or "token" in name]
        assert sum(name.startswith("salt of task") for name in found) == 1, "its own"
        assert sum(name.startswith("text") for name in found) <= n, "no row but the marked ones"


@pytest.mark.soak
def test_the_same_seed_plants_identical_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    reports = []
    for name, seed in (("first", "7"), ("again", "7"), ("other", "8")):
        directory = tmp_path / name
        directory.mkdir()
        reports.append(simulate(directory, "--miners", "base=1", "--seed", seed, "--quiet"))
    first, again, other = (report["training_file_sha256"] for report in reports)
    assert first == again
    assert first != other


def test_judged_weights_pay_whoever_trained_and_not_who_looks_the_probes_up(tmp_path: Path) -> None:
    """W8: by their replies alone both would be paid."""
    report = simulate(tmp_path, "--weights", "judged", "--miners", "honest=1,lookup=1", *CHEAPEST_TRAINING)
    (honest,), (lookup,) = by_strategy(report, "honest"), by_strategy(report, "lookup")
    assert (honest["outcome"], lookup["outcome"]) == ("paid", "refunded")
    assert honest["weights_hits"] == honest["hits"]
    assert report["scheme"] == "canary+coverage"
    assert honest["coverage"]["low_bps"] >= MIN_COVERAGE_BPS
    assert honest["coverage"]["log10_p"] < -50
    assert lookup["coverage"]["low_bps"] < 2_000
    assert lookup["coverage"]["log10_p"] > -4
    assert (lookup["hits"], lookup["weights_hits"]) == (16, 0)
