"""`touchstone contract` as an operator runs it: once, again, interrupted, killed, and with what makes no sense."""

import asyncio
import json
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from aiohttp import ClientSession, web
from eth_account import Account

from contracts import PACKAGE, load_artifact
from tests.e2e.command import TOUCHSTONE, run_touchstone
from tests.edges.test_chain import answering, serving
from tests.support import require_or_skip
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.devnet import anvil_node, embedded_node
from validator.edges.keys import LocalSigner, SecretBytes, dev_mnemonic_signer
from validator.errors import BadInput
from validator.types import Address

SECRET = b"\5" * 32
DEPLOYER = LocalSigner(SecretBytes(SECRET))
PASSWORD = "correct horse"  # noqa: S105
NOWHERE = "0x" + "11" * 20
CLOSED_PORT = "http://127.0.0.1:9"
ETHER = 10**18
ONE_CHAIN = pytest.mark.parametrize("url", ["embedded"], indirect=True)
"""For what does not depend on the node: starting a command takes seconds."""


@pytest.fixture(params=["embedded", "anvil"])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A fresh chain on which the deployer has a little ether."""
    node = embedded_node() if request.param == "embedded" else anvil_node()
    try:
        url = await node.__aenter__()
    except BadInput as error:
        require_or_skip(str(error))
        raise
    try:
        async with reading(url) as chain:
            await TransactionSender(chain, dev_mnemonic_signer(0)).send(DEPLOYER.address, value_wei=ETHER)
        yield url
    finally:
        await node.__aexit__(None, None, None)


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Chain]:
    chain = await Chain.connect(url)
    try:
        yield chain
    finally:
        await chain.aclose()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return write_private(tmp_path / "key.hex", SECRET.hex())


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "contracts.json"


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def contract(*arguments: str | Path, status: int = 0) -> CompletedProcess[str]:
    """`touchstone contract ...`, which must end with this status; where it is not 0, with one line on stderr."""
    finished = run_touchstone("contract", *arguments)
    assert finished.returncode == status, finished.stdout + finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    assert len(lines) == (status == 2), finished.stderr
    return finished


def refusal_of(*arguments: str | Path) -> str:
    return contract(*arguments, status=2).stderr.strip()


def results_of(path: Path, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    contract(*arguments, "--json", path, status=status)
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def deployments_in(book: Path) -> list[dict[str, Any]]:
    chains = json.loads(book.read_text())["chains"].values() if book.exists() else []
    return [deployment for deployments in chains for deployment in deployments]


async def count_transactions(url: str) -> int:
    async with reading(url) as chain:
        return await chain.nonce(DEPLOYER.address)


async def test_deploy_verify_params_as_the_readme_has_them(url: str, tmp_path: Path, book: Path) -> None:
    keystore = write_private(tmp_path / "keystore", json.dumps(Account.encrypt(SECRET, PASSWORD, iterations=2)))
    key = ("--keystore", keystore, "--password-file", write_private(tmp_path / "password", PASSWORD + "\n"))
    deploy = ("deploy", "--rpc", url, *key, "--profile", "dev", "--address-book", book)
    out = contract(*deploy).stdout
    assert "dev profile: no floors" in out
    assert "deploying takes at most" in out
    assert "\ndeployed: 0x" in out

    again = results_of(tmp_path / "again.json", *deploy)
    assert (again["is_new"], again["deployer"]) == (False, DEPLOYER.address)
    assert await count_transactions(url) == 1
    async with reading(url) as chain:
        deployed = await Touchstone.at(chain, Address(again["address"]))
        assert (await deployed.network())._asdict() == again["network"]

    found = results_of(tmp_path / "params.json", "params", "--rpc", url, "--address-book", book)
    assert (found["address"], found["network"], found["is_sunset"]) == (again["address"], again["network"], False)
    assert found["birth_chain_id"] == again["chain_id"]

    transaction = ("--transaction", again["transaction_hash"])
    verified = results_of(tmp_path / "verify.json", "verify", again["address"], "--rpc", url, *transaction)
    assert (verified["is_verified"], verified["findings"], verified["warnings"]) == (True, [], [])
    assert verified["source_sha256"] == load_artifact().source_sha256
    assert "verified: " in contract("verify", again["address"], "--rpc", url, "--recompile").stdout


@ONE_CHAIN
async def test_a_parameter_file_and_a_guardian_make_another_network(
    url: str, tmp_path: Path, key_file: Path, book: Path
) -> None:
    deploy = ("deploy", "--rpc", url, "--key-file", key_file, "--address-book", book)
    first = results_of(tmp_path / "first.json", *deploy)
    assert first["network"]["min_accept_seconds"] == 24 * 3600, "production is the default"
    params = tmp_path / "network.json"
    params.write_text(json.dumps(first["network"] | {"min_accept_seconds": 60}))
    other = (*deploy, "--params", params, "--guardian", NOWHERE)
    assert f"{first['address']}: --another deploys one more" in refusal_of(*other)
    second = results_of(tmp_path / "second.json", *other, "--another")
    assert second["network"] == first["network"] | {"min_accept_seconds": 60, "guardian": NOWHERE}
    assert "has 2 contracts" in refusal_of("params", "--rpc", url, "--address-book", book)
    assert await count_transactions(url) == 2


@ONE_CHAIN
async def test_what_is_not_the_contract_is_told_and_ends_with_status_1(url: str, tmp_path: Path) -> None:
    """O1, O5."""
    async with reading(url) as chain:
        init_code = bytes.fromhex("600160005360016000f3")  # leaves the one byte STOP
        receipt = await TransactionSender(chain, DEPLOYER).send(None, init_code)
    assert receipt.contract_address is not None
    for address, expected in ((NOWHERE, "there is no contract at"), (receipt.contract_address, "from byte 0 on")):
        results = results_of(tmp_path / "results.json", "verify", address, "--rpc", url, status=1)
        assert results["is_verified"] is False
        assert expected in results["findings"][0]
        assert expected in refusal_of("params", address, "--rpc", url)


class HoldingNode:
    """Passes requests on to a real chain, but never answers one method; before or after passing it on."""

    def __init__(self, upstream: str, session: ClientSession, method: str, *, is_passed_on: bool) -> None:
        self.reached = asyncio.Event()
        self._upstream, self._session = upstream, session
        self._method, self._is_passed_on = method, is_passed_on

    async def handle(self, request: web.Request) -> web.Response:
        call = await request.json()
        is_held = call["method"] == self._method
        if is_held and not self._is_passed_on:
            await self._hold()
        async with self._session.post(self._upstream, json=call) as response:
            answer = await response.json()
        if is_held:
            await self._hold()
        return web.json_response(answer)

    async def _hold(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def stop_at(
    url: str,
    method: str,
    deploy: Callable[[str], tuple[str | Path, ...]],
    number: signal.Signals,
    *,
    is_passed_on: bool,
) -> tuple[int | None, str]:
    """Run `deploy` until it waits for `method`, then signal it; its status and stderr."""
    async with ClientSession() as session:
        node = HoldingNode(url, session, method, is_passed_on=is_passed_on)
        async with serving(node.handle) as held_url:
            process = await asyncio.create_subprocess_exec(
                TOUCHSTONE, "contract", *map(str, deploy(held_url)), stdout=PIPE, stderr=PIPE
            )
            try:
                await asyncio.wait_for(node.reached.wait(), 60)
                process.send_signal(number)
                _, errors = await asyncio.wait_for(process.communicate(), 60)
            finally:
                if process.returncode is None:
                    process.kill()
    return process.returncode, errors.decode()


@pytest.mark.parametrize(
    ("method", "is_passed_on"),
    [("eth_sendRawTransaction", False), ("eth_sendRawTransaction", True), ("eth_getTransactionReceipt", False)],
)
async def test_a_kill_between_signing_and_receipt_ends_in_one_contract(
    url: str, tmp_path: Path, key_file: Path, book: Path, method: str, is_passed_on: bool
) -> None:
    """P1, P3, P4."""

    def deploy(rpc: str) -> tuple[str | Path, ...]:
        return ("deploy", "--rpc", rpc, "--key-file", key_file, "--address-book", book)

    status, _ = await stop_at(url, method, deploy, signal.SIGKILL, is_passed_on=is_passed_on)
    assert status == -signal.SIGKILL
    (intent,) = deployments_in(book)
    assert intent["block_number"] is None
    assert await count_transactions(url) == (is_passed_on or method == "eth_getTransactionReceipt")
    deployed = results_of(tmp_path / "deployed.json", *deploy(url))
    assert deployed["transaction_hash"] == intent["transaction_hash"]
    assert deployed["address"] == intent["address"]
    assert await count_transactions(url) == 1
    contract("verify", deployed["address"], "--rpc", url, "--transaction", deployed["transaction_hash"])


@ONE_CHAIN
async def test_ctrl_c_says_how_to_go_on(url: str, key_file: Path, book: Path) -> None:
    def deploy(rpc: str) -> tuple[str | Path, ...]:
        return ("deploy", "--rpc", rpc, "--key-file", key_file, "--address-book", book)

    status, errors = await stop_at(url, "eth_getTransactionReceipt", deploy, signal.SIGINT, is_passed_on=False)
    assert status == 130
    assert errors.splitlines() == [
        f"if anything was sent, it is in {book}: the same command goes on with it",
        "interrupted",
    ]
    assert "already deployed" in contract(*deploy(url)).stdout
    assert await count_transactions(url) == 1


@ONE_CHAIN
async def test_an_empty_account_is_refused_before_anything_is_signed(url: str, tmp_path: Path, book: Path) -> None:
    """O3."""
    key = write_private(tmp_path / "poor.hex", "06" * 32)
    line = refusal_of("deploy", "--rpc", url, "--key-file", key, "--address-book", book)
    assert "has 0 ETH" in line
    assert "send it the rest first" in line
    assert deployments_in(book) == []


@ONE_CHAIN
async def test_another_chain_than_the_one_that_was_meant_is_refused(url: str, key_file: Path, book: Path) -> None:
    """O1."""
    line = refusal_of("deploy", "--rpc", url, "--key-file", key_file, "--address-book", book, "--chain-id", "1")
    assert "not on 1" in line
    assert await count_transactions(url) == 0


async def test_a_chain_that_is_for_no_development_gets_the_protocols_floors(
    tmp_path: Path, key_file: Path, book: Path
) -> None:
    try:
        async with anvil_node("--chain-id", "7") as url:
            async with reading(url) as chain:
                assert not chain.is_dev_chain
                await TransactionSender(chain, dev_mnemonic_signer(0)).send(DEPLOYER.address, value_wei=ETHER)
            deploy = ("deploy", "--rpc", url, "--key-file", key_file, "--address-book", book, "--chain-id", "7")
            assert "that is for development chains only" in refusal_of(*deploy, "--profile", "dev")
            first = results_of(tmp_path / "first.json", *deploy)
            assert first["network"]["min_dispute_seconds"] == 7 * 24 * 3600
            assert results_of(tmp_path / "again.json", *deploy) == first | {"is_new": False}
    except BadInput as error:
        require_or_skip(str(error))


@ONE_CHAIN
async def test_the_book_is_the_users_wherever_the_command_runs(
    url: str, tmp_path: Path, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("RPC_URL", url)
    contract("deploy", "--key-file", key_file)
    assert (tmp_path / "data" / "touchstone" / "contracts.json").stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(tmp_path)
    assert "already deployed" in contract("deploy", "--key-file", key_file).stdout
    assert "birth chain id" in contract("params").stdout


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("Touchstone.vy", "MAX_W: constant(uint256) = 16", "MAX_W: constant(uint256) = 17", "was not compiled from"),
        ("artifacts/Touchstone.json", '"runtime_bytecode": "5f', '"runtime_bytecode": "60', "is not what"),
    ],
)
async def test_an_installation_whose_source_and_code_differ_verifies_nothing(
    tmp_path: Path, file: str, old: str, new: str, expected: str
) -> None:
    """E12."""
    copy_package(tmp_path / "contracts", file, old, new)
    command = [sys.executable, "-c", "from validator.cli import main; main()", "contract", "verify", NOWHERE]
    async with serving(answering(eth_getCode="0x")) as url:
        process = await asyncio.create_subprocess_exec(
            *command, "--recompile", "--rpc", url, stdout=PIPE, stderr=PIPE, cwd=tmp_path
        )
        output, errors = await process.communicate()
    assert process.returncode == 1, errors
    assert expected in output.decode()


def copy_package(place: Path, file: str, old: str, new: str) -> None:
    """The `contracts` package with one change in one file; it is imported by a process that starts beside it."""
    shutil.copytree(PACKAGE, place)
    text = (place / file).read_text()
    assert text.count(old) == 1
    (place / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["deploy", "--rpc", CLOSED_PORT], "either --keystore with --password-file, or --key-file"),
        (["deploy", "--rpc", CLOSED_PORT, "--keystore", "k"], "either --keystore with --password-file, or --key-file"),
        (["deploy", "--rpc", CLOSED_PORT, "--key-file", "nowhere"], "cannot read the key file nowhere"),
        (["deploy", "--rpc", CLOSED_PORT, "--key-file", "KEY"], f"no answer from {CLOSED_PORT}"),
        (["deploy", "--rpc", "mainnet", "--key-file", "KEY"], "the URL of a chain looks like"),
        (["deploy", "--rpc", CLOSED_PORT, "--key-file", "KEY", "--guardian", "me"], "'me' is no address"),
        (["deploy", "--rpc", CLOSED_PORT, "--profile", "dev", "--params", "x"], "take one of them"),
        (["deploy", "--rpc", CLOSED_PORT, "--key-file", "KEY", "--json", "/nowhere/x"], "cannot write /nowhere/x"),
        (["verify", NOWHERE, "--rpc", CLOSED_PORT], f"no answer from {CLOSED_PORT}"),
        (["verify", "0x12", "--rpc", CLOSED_PORT], "'0x12' is no address"),
        (["verify", NOWHERE, "--rpc", CLOSED_PORT, "--transaction", "0x12"], "'0x12' is no transaction hash"),
        (["params", "--rpc", CLOSED_PORT], f"no answer from {CLOSED_PORT}"),
        (["params", "touchstone.eth", "--rpc", CLOSED_PORT], "'touchstone.eth' is no address"),
    ],
)
def test_what_makes_no_sense_gets_one_line(arguments: list[str], expected: str, key_file: Path) -> None:
    """O2."""
    assert expected in refusal_of(*(str(key_file) if argument == "KEY" else argument for argument in arguments))


@ONE_CHAIN
async def test_without_a_contract_in_the_book_an_address_is_asked_for(url: str, book: Path) -> None:
    assert "has no contract on chain" in refusal_of("params", "--rpc", url, "--address-book", book)


async def test_a_node_that_answers_half_of_it_leaves_it_open_whether_it_is_verified() -> None:
    """R3."""
    async with serving(answering(eth_getCode={"error": {"code": -32601, "message": "method not found"}})) as url:
        process = await asyncio.create_subprocess_exec(
            TOUCHSTONE, "contract", "verify", NOWHERE, "--rpc", url, stdout=PIPE, stderr=PIPE
        )
        output, errors = await process.communicate()
    assert process.returncode == 2
    assert output == b""
    assert "method not found" in errors.decode()
