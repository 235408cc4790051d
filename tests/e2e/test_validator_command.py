"""`touchstone validator init`, `deposit`, `check` and `sweep` as an operator runs them, against a real chain."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.e2e.command import run_touchstone
from validator.config import DEV
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, Touchstone
from validator.edges.devnet import embedded_node
from validator.edges.keys import dev_mnemonic_signer
from validator.types import Address

ETHER = 10**18


@dataclass(frozen=True, slots=True)
class Stage:
    """A chain with the contract on it, and somebody who has ether."""

    url: str
    contract: Touchstone
    funder: TransactionSender

    @property
    def flags(self) -> list[str]:
        chain_id = str(self.contract.chain.chain_id)
        network = ["--profile", "dev", "--rpc-url", self.url, "--chain-id", chain_id, "--first-block", "0"]
        return [*network, "--contract", self.contract.address, "--model", "embedded", "--min-reward-wei", str(10**15)]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with embedded_node() as url:
        chain = await Chain.connect(url)
        funder = TransactionSender(chain, dev_mnemonic_signer(0))
        yield Stage(url, await Touchstone.deploy(funder, Network.of_profile(DEV, funder.address)), funder)
        await chain.aclose()


async def touchstone(*arguments: str | Path, **variables: str) -> CompletedProcess[str]:
    """Complaint 18: there is no terminal, as under a service manager."""
    return await asyncio.to_thread(run_touchstone, "validator", *arguments, variables=variables)


async def findings_of(config: Path, status: int) -> dict[str, dict[str, Any]]:
    results = config.with_name("findings.json")
    finished = await touchstone("check", "--config", config, "--json", results)
    assert finished.returncode == status, finished.stdout + finished.stderr
    report = json.loads(results.read_text())
    assert report["ok"] == (status == 0)
    for finding in report["findings"]:
        assert f"{finding['name']} " in finished.stdout
        assert finding["detail"] in finished.stdout
    return {finding["name"]: finding for finding in report["findings"]}


async def test_from_nothing_to_a_validator_that_can_start(stage: Stage, tmp_path: Path) -> None:
    """Complaints 17 to 19, H1: init, fund, deposit, check, sweep; no prompt, and no gap that is not told."""
    config = tmp_path / "new" / "validator.toml"
    cold_address = Address("0x" + "11" * 20)
    made = await touchstone("init", tmp_path / "new", *stage.flags, "--cold-address", cold_address)
    assert made.returncode == 0, made.stderr
    assert "no other copy" in made.stdout
    address = Address(made.stdout.split()[2].rstrip(","))

    found = await findings_of(config, 2)
    assert {name for name, finding in found.items() if not finding["ok"]} == {"bond", "gas"}
    poor = await touchstone("deposit", "0.5", "--config", config)
    assert (poor.returncode, poor.stderr.count("\n")) == (2, 1)
    assert f"error: {address} has 0 ETH (0 wei), less than the deposit of 0.5 ETH" in poor.stderr

    await stage.funder.send(address, value_wei=ETHER)
    deposited = await touchstone("deposit", "0.5", "--config", config)
    assert deposited.returncode == 0, deposited.stderr
    assert await stage.contract.credits_wei(address) == ETHER // 2
    found = await findings_of(config, 0)
    assert "8 tasks at the least reward lock 0.012 ETH" in found["bond"]["detail"]
    assert found["key"]["detail"] == f"{address}, surplus to {cold_address}"
    swept = await touchstone("sweep", "--config", config)
    assert swept.stdout == f"moved 0.488 ETH (488000000000000000 wei) to {cold_address}\n", swept.stderr
    assert await stage.contract.chain.balance_wei(cold_address) == 488 * ETHER // 1_000

    again = await touchstone("init", tmp_path / "new", *stage.flags)
    assert again.returncode == 2
    assert "is there already: nothing was written" in again.stderr


async def test_what_init_leaves_open_check_names_with_its_line(tmp_path: Path) -> None:
    """O2, complaint 19."""
    assert (await touchstone("init", tmp_path / "new")).returncode == 0
    config = tmp_path / "new" / "validator.toml"
    checked = await touchstone("check", "--config", config)
    assert (checked.returncode, checked.stdout) == (2, "")
    assert checked.stderr.startswith(f"error: {config}, line 6: network.chain_id is missing: ")
    assert checked.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["init", "{new}", "--profile", "prod"], "network.profile: Input should be 'production' or 'dev'"),
        (["init", "{new}", "--contract", "0x12"], "network.contract: this takes an address"),
        (["check", "--config", "{new}"], "cannot read {new}: No such file or directory; `touchstone validator init`"),
        (["deposit", "1e3", "--config", "{new}"], "cannot read {new}: No such file or directory"),
    ],
)
async def test_bad_input_is_one_line_and_exit_status_2(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """Complaint 19."""
    new = str(tmp_path / "new")
    finished = await touchstone(*(argument.format(new=new) for argument in arguments))
    assert (finished.returncode, finished.stderr.count("\n")) == (2, 1)
    assert expected.format(new=new) in finished.stderr


async def test_a_variable_wins_over_the_file(stage: Stage, tmp_path: Path) -> None:
    config = tmp_path / "validator.toml"
    assert (await touchstone("init", tmp_path, *stage.flags)).returncode == 0
    checked = await touchstone("check", TOUCHSTONE_CONFIG=str(config), TOUCHSTONE_NETWORK__CHAIN_ID="31337")
    assert checked.returncode == 2
    assert f"{stage.url} is on chain {stage.contract.chain.chain_id}, and network.chain_id is 31337" in checked.stdout
