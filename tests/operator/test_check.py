"""`touchstone validator check` as a library: every check against a real chain, and each thing that it must find."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from tests.edges.loopback import Handler, date_ahead, serving
from tests.edges.test_contract import open_market
from tests.miner_sim.world import private_key
from validator.config import DEV, PRODUCTION
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, Touchstone
from validator.edges.devnet import embedded_node
from validator.edges.keys import dev_mnemonic_signer
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.operator.check import Finding, run_checks
from validator.settings import Settings
from validator.settings_file import load_settings
from validator.types import Address, Wei

KEY = 1
SIGNER = dev_mnemonic_signer(KEY)
SEED = bytes(range(32))
NOWHERE = Address("0x" + "11" * 20)
NAMES = [
    "node 1",
    "agreement",
    "contract",
    "sunset",
    "floors",
    "key",
    "master seed",
    "bond",
    "gas",
    "state",
    "journal",
    "clock",
    "generator",
    "cost",
]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with embedded_node() as url:
        yield url


@pytest.fixture
async def chain(url: str) -> AsyncIterator[Chain]:
    chain = await Chain.connect(url)
    yield chain
    await chain.aclose()


async def deployed(chain: Chain, network: Network | None = None) -> Touchstone:
    """A contract in which the key has credit for eight tasks."""
    guardian = TransactionSender(chain, dev_mnemonic_signer(0))
    contract = await Touchstone.deploy(guardian, network or Network.of_profile(DEV, guardian.address))
    await contract.deposit(TransactionSender(chain, SIGNER), Wei(10**17))
    return contract


def settings_for(folder: Path, chain_id: int, contract: Address, *urls: str, **tables: dict[str, object]) -> Settings:
    """A configuration with everything that it names, but for the model."""
    for name, text in (("key", private_key(KEY)), ("seed", SEED.hex())):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    defaults: dict[str, dict[str, object]] = {
        "network": {"profile": "dev", "chain_id": chain_id, "contract": contract, "rpc_urls": urls, "first_block": 0},
        "keys": {"key_file": folder / "key", "master_seed_file": folder / "seed"},
        "state": {"directory": folder / "state"},
        "generator": {"model": str(folder / "no model")},
        "tasks": {"min_reward_wei": 10**15},
    }
    (folder / "validator.toml").write_text("")
    return load_settings(
        folder / "validator.toml",
        {name: defaults.get(name, {}) | tables.get(name, {}) for name in defaults | tables},
    )


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def checked(settings: Settings, open_tasks: int = 0) -> list[Finding]:
    """Every check but that of the model, which takes seconds to load."""
    return await run_checks(settings, open_tasks=open_tasks, without={"generator"})


def wrong(findings: list[Finding]) -> dict[str, str]:
    return {found.name: found.detail for found in findings if not found.ok}


async def test_a_validator_that_lacks_nothing_passes_and_nothing_is_touched(
    url: str, chain: Chain, tmp_path: Path
) -> None:
    contract = await deployed(chain)
    head = await chain.head()
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url, generator={"model": "embedded"})
    findings = await run_checks(settings)
    assert [found.name for found in findings] == NAMES
    assert [found.detail for found in findings if not found.ok] == []
    assert [found.remedy for found in findings] == [""] * len(NAMES)
    assert await chain.head() == head
    assert names_in(tmp_path) == {"key", "seed", "validator.toml"}


async def test_every_check_is_made_whatever_came_of_the_others(tmp_path: Path) -> None:
    """O1, K5, complaint 19: one look shows all that is to be done, and each finding says how."""
    settings = settings_for(tmp_path, 31337, NOWHERE, "http://127.0.0.1:9")
    (tmp_path / "key").unlink()
    (tmp_path / "seed").chmod(0o644)
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o755)
    findings = await run_checks(settings)
    assert [found.name for found in findings] == NAMES
    found = wrong(findings)
    assert "no model" in found["generator"]
    assert "no answer from http://127.0.0.1:9" in found["node 1"]
    assert "cannot read the key file" in found["key"]
    assert "chmod 600" in found["master seed"]
    assert "chmod 700" in found["state"]
    assert {name for name, detail in found.items() if detail.startswith("not checked: ")} == {
        "agreement",
        "contract",
        "sunset",
        "floors",
        "bond",
        "gas",
        "journal",
        "clock",
        "cost",
    }
    for finding in findings:
        assert finding.ok or finding.remedy or finding.detail.startswith("not checked: ")
        assert "\n" not in finding.detail


async def test_another_chain_is_refused(url: str, chain: Chain, tmp_path: Path) -> None:
    """O1."""
    found = wrong(await checked(settings_for(tmp_path, 31337, NOWHERE, url)))
    assert found["node 1"] == f"{url} is on chain {chain.chain_id}, and network.chain_id is 31337"


async def test_an_address_without_the_contract_is_refused(url: str, chain: Chain, tmp_path: Path) -> None:
    """O1, O5."""
    found = wrong(await checked(settings_for(tmp_path, chain.chain_id, NOWHERE, url)))
    assert f"there is no contract at {NOWHERE}" in found["contract"]
    assert found["bond"] == "not checked: there is no contract to ask"


async def test_a_first_block_that_is_still_to_come_is_refused(url: str, chain: Chain, tmp_path: Path) -> None:
    """A typo here would leave out every event of the contract."""
    contract = await deployed(chain)
    network: dict[str, object] = {"first_block": 1_000_000}
    found = wrong(await checked(settings_for(tmp_path, chain.chain_id, contract.address, url, network=network)))
    assert found["contract"] == "network.first_block is 1000000, which the chain has not reached"


async def test_a_contract_that_takes_no_tasks_or_other_durations_is_found(
    url: str, chain: Chain, tmp_path: Path
) -> None:
    """O1: tasks would be refused one by one, after the customer was told yes."""
    guardian = TransactionSender(chain, dev_mnemonic_signer(0))
    contract = await deployed(chain, Network.of_profile(PRODUCTION, guardian.address))
    await contract.sunset(guardian)
    findings = await checked(settings_for(tmp_path, chain.chain_id, contract.address, url))
    found = wrong(findings)
    assert found["sunset"] == "the contract's guardian has stopped new tasks for ever"
    assert found["floors"] == "the contract wants accept_seconds of 86400, and the profile's are 3600"
    assert {finding.name: finding.is_fatal for finding in findings if finding.name in ("sunset", "floors")} == {
        "sunset": False,
        "floors": True,
    }


async def test_too_little_money_keeps_new_tasks_out_and_open_ones_going(url: str, chain: Chain, tmp_path: Path) -> None:
    """O3."""
    contract = await deployed(chain)
    tasks: dict[str, object] = {"min_reward_wei": 10**23}
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url, tasks=tasks)
    at_first, while_open = await checked(settings), await checked(settings, 7)
    for findings, places in ((at_first, 8), (while_open, 1)):
        [bond] = [finding for finding in findings if finding.name == "bond"]
        assert (bond.ok, bond.is_fatal) == (False, places == 8)
        assert f"credit of 0.1 ETH (100000000000000000 wei); {places} tasks at the least reward lock" in bond.detail
    assert wrong(await checked(settings, 8)) == {}


async def test_a_key_without_ether_cannot_send(url: str, chain: Chain, tmp_path: Path) -> None:
    """O3."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url)
    (tmp_path / "key").write_text("07" * 32)
    found = wrong(await checked(settings))
    assert set(found) == {"bond", "gas"}
    assert found["gas"].startswith("balance of 0 ETH (0 wei); 8 tasks take up to 0.0")


async def test_surplus_credit_and_where_it_belongs_is_said(url: str, chain: Chain, tmp_path: Path) -> None:
    """H1."""
    contract = await deployed(chain)
    keys: dict[str, object] = {"cold_address": NOWHERE}
    findings = await checked(settings_for(tmp_path, chain.chain_id, contract.address, url, keys=keys))
    [bond] = [finding for finding in findings if finding.name == "bond"]
    assert bond.detail.endswith("`sweep` would move 0.088 ETH (88000000000000000 wei)")
    keys = {"cold_address": SIGNER.address}
    found = wrong(await checked(settings_for(tmp_path, chain.chain_id, contract.address, url, keys=keys)))
    assert found["key"] == "keys.cold_address is the address of the key itself"


async def test_a_key_with_a_past_does_not_begin_without_its_journal(url: str, chain: Chain, tmp_path: Path) -> None:
    """P9, O6: the data directory was deleted, or a volume was not mounted."""
    market = await open_market(chain)
    await market.open()
    assert await market.contract.validator_nonce(SIGNER.address) == 1
    settings = settings_for(tmp_path, chain.chain_id, market.contract.address, url)
    found = wrong(await checked(settings))
    assert found["journal"] == "the key has opened 1 tasks on this contract, and the journal knows of none"
    assert "journal" not in {finding.name for finding in await run_checks(settings, without={"journal", "generator"})}


async def test_a_journal_that_is_there_must_open(url: str, chain: Chain, tmp_path: Path) -> None:
    """P14, K4, K5."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url)
    settings.state.directory.mkdir(mode=0o700)
    identity = Identity(chain.chain_id, contract.address, SIGNER.address)
    journal = Journal(settings.state.journal_place, derive_journal_key(SEED), identity)
    assert "another process is using the journal" in wrong(await checked(settings))["journal"]
    journal.close()
    assert wrong(await checked(settings)) == {}
    (tmp_path / "seed").write_text("11" * 32)
    assert "journal" in wrong(await checked(settings))
    (tmp_path / "seed").write_text(SEED.hex())
    (tmp_path / "state" / "journal.sqlite").write_bytes(b"damaged" * 1_000)
    assert "journal" in wrong(await checked(settings))


def with_clock_ahead(url: str, offset_s: float) -> Handler:
    """Another node that says the same as the one at `url`, by a clock that is `offset_s` ahead."""

    async def handle(request: web.Request) -> web.Response:
        async with ClientSession() as session, session.post(url, data=await request.read()) as answer:
            body = await answer.read()
        return web.Response(body=body, content_type="application/json", headers={"Date": date_ahead(offset_s)})

    return handle


@pytest.mark.parametrize("offset_s", [-3_600, -90, 90, 3_600])
async def test_a_clock_that_is_wrong_is_found(url: str, chain: Chain, tmp_path: Path, offset_s: int) -> None:
    """O4: the chain is idle, so its newest block says nothing."""
    contract = await deployed(chain)
    async with serving(with_clock_ahead(url, offset_s)) as other:
        started_s = time.monotonic()
        found = wrong(await checked(settings_for(tmp_path, chain.chain_id, contract.address, other)))
        took_s = time.monotonic() - started_s
    assert set(found) == {"clock"}
    words = re.fullmatch(rf"this machine's clock and that of {other} are (\d+) s apart", found["clock"])
    assert words is not None
    # a date is in whole seconds, and so are the words; when in the exchange the node said it is not known
    assert abs(int(words[1]) - abs(offset_s)) <= 1 + took_s / 2


async def test_nodes_that_disagree_are_found(url: str, chain: Chain, tmp_path: Path) -> None:
    """R3: two chains of one id."""
    contract = await deployed(chain)
    async with embedded_node() as other:
        elsewhere = await Chain.connect(other)
        await TransactionSender(elsewhere, dev_mnemonic_signer(3)).send(NOWHERE, value_wei=1)
        await elsewhere.aclose()
        findings = await checked(settings_for(tmp_path, chain.chain_id, contract.address, url, other))
    assert wrong(findings)["agreement"] == "the nodes have different blocks 1"


async def test_a_node_that_is_down_is_found_beside_one_that_is_up(url: str, chain: Chain, tmp_path: Path) -> None:
    """R5, O3, H5: what may pass keeps no daemon from its open tasks, and no URL is shown beyond its host."""
    contract = await deployed(chain)
    settings = settings_for(tmp_path, chain.chain_id, contract.address, url, "http://me:hunter2@127.0.0.1:9/hunter2")
    findings = await checked(settings)
    assert "no answer from http://127.0.0.1:9" in wrong(findings)["node 2"]
    assert wrong(findings)["agreement"] == "only 1 of 2 nodes can be used"
    assert "hunter2" not in repr(findings)
    while_open = await checked(settings, open_tasks=1)
    assert wrong(while_open) == wrong(findings)
    assert any(not finding.ok and finding.is_fatal for finding in findings)
    assert not any(not finding.ok and finding.is_fatal for finding in while_open)
