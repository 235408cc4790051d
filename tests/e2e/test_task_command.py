"""`touchstone task` and what an operator asks a validator, as people run them, against a desk over a real chain."""

import asyncio
import hashlib
import json
import signal
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.office import COST_WEI, DATA, MASTER_SEED, PAYER, VALIDATOR, Office, make_request, open_office, serve
from tests.e2e.command import TOUCHSTONE, run_touchstone
from tests.edges.test_contract import open_market
from tests.factories import HAPPY_PATH
from validator.customer.command import run_submit
from validator.customer.daemon import PayerKey, Place
from validator.customer.fetch import run_fetch
from validator.edges.chain import TransactionSender
from validator.errors import BadInput
from validator.journal import Identity, Journal
from validator.marks.rules import AlterationRules
from validator.marks.secrets import derive_journal_key
from validator.plan.spec import TrainingSpec
from validator.protocol import events as facts
from validator.protocol.commitment import ModelFile, hash_model_files

PAYER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
VALIDATOR_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
"""Accounts 0 and 1 of the public test mnemonic."""
SPEC = ("--base-model", "tiny", "--epochs", "3", "--learning-rate", "1e-3")


class Shop:
    """An office with its configuration, the payer's key and the customer's data in files."""

    def __init__(self, office: Office) -> None:
        self.office = office
        directory = office.directory
        self.config, self.data, self.key = (directory / name for name in ("touchstone.toml", "data.jsonl", "payer.key"))
        self.data.write_bytes(DATA)
        for name, text in (("payer.key", PAYER_KEY), ("validator.key", VALIDATOR_KEY), ("seed", MASTER_SEED.hex())):
            (directory / name).write_text(text)
            (directory / name).chmod(0o600)
        self.write_config()

    def write_config(self) -> None:
        contract = self.office.contract
        self.config.write_text(
            f"""
            [network]
            profile = "dev"
            chain_id = {contract.chain.chain_id}
            contract = "{contract.address}"
            rpc_urls = ["{self.office.url}"]
            first_block = 0
            [keys]
            key_file = "validator.key"
            master_seed_file = "seed"
            [state]
            directory = "."
            [generator]
            model = "embedded"
            [tasks]
            min_reward_wei = 1
            """
        )

    async def run(self, *arguments: str | Path, status: int = 0) -> str:
        """A command's output, or its one line on stderr where it must be refused."""
        finished = await self.start(*arguments)
        assert finished.returncode == status, finished.stdout + finished.stderr
        if status == 0:
            return finished.stdout
        (line,) = [line for line in finished.stderr.splitlines() if line.strip()]
        assert "Traceback" not in line
        return line

    async def start(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(run_touchstone, *arguments, "--config", self.config)

    async def submit(self, *arguments: str | Path, status: int = 0) -> str:
        key = ("--payer-key-file", self.key)
        return await self.run("task", "submit", self.data, *SPEC, "--reward", "1", *key, *arguments, status=status)

    async def credit_wei(self) -> int:
        return await self.office.contract.credits_wei(PAYER.address)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_office(tmp_path) as office:
        yield Shop(office)


async def test_a_customer_submits_looks_cancels_and_gets_its_money_back(shop: Shop) -> None:
    """Complaint 16, D5: what was signed for, what becomes of it and where the money is, at every step."""
    async with shop.office.open():
        quoted = await shop.submit("--reward", "2", "--quote")
        assert "1.05 ETH (1050000000000000000 wei), missing 1.05 ETH" in quoted
        assert "paid from 12 hits, nobody is slashed" in quoted
        assert "in 16 of the 300 rows the first 4 words of the response are replaced" in quoted
        assert await shop.run("task", "list") == "no requests\n"

        answer, rules = shop.office.directory / "answer.json", shop.office.directory / "rules.json"
        rules.write_text('{"names": false}')
        rest = ("--deposit", "--yes", "--json", answer, "--protect", rules)
        submitted = await shop.submit("--reward", "2", "--attempts", "2", *rest)
        assert "deposited 1.05 ETH" in submitted
        assert await shop.credit_wei() == 2 * COST_WEI
        view = json.loads(answer.read_text())
        assert (view["stage"], view["max_attempts"], view["payer"]) == ("queued", 2, PAYER.address)
        (waiting,) = shop.office.desk.waiting(0)
        assert waiting.request.source_data_hash == hashlib.sha256(DATA).digest()
        assert waiting.request.rules == AlterationRules(names=False)

        request_id = view["request_id"]
        assert request_id in await shop.run("task", "list")
        assert json.loads(await shop.run("task", "list", "--json", "-")) == [view]
        assert "waiting for a miner and a free place" in await shop.run("task", "show", request_id)

        key = ("--payer-key-file", shop.key)
        cancelled = await shop.run("task", "cancel", request_id, "--on-chain", *key)
        assert cancelled.count("can never be used any more") == 2
        for nonce in view["order_nonces"]:
            assert await shop.office.contract.is_order_nonce_used(PAYER.address, nonce)
        assert list(shop.office.desk.waiting(0)) == []

        assert "0.1 ETH (100000000000000000 wei) withdrawn" in await shop.run("task", "withdraw", "0.1", *key)
        await shop.run("task", "withdraw", *key)
        assert await shop.credit_wei() == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reward": "1e18"}, "'1e18' is no amount of ether"),
        ({"reward": "1", "weights": "all"}, "unknown --weights 'all'"),
        ({"scheme": "x"}, "unknown scheme"),
        (
            {"scheme": "canary-openings"},
            "no model that proposes openings for canary-openings: ask for another --scheme",
        ),
        ({"probes": 65}, "16 to 64, not 65"),
        ({"probes": 17}, "300 rows are too few for 17 marks: at least 850 are needed, or ask for fewer"),
        ({"attempts": 17}, "1 to 16, not 17"),
        ({"key": PayerKey()}, "--payer-keystore with --password-file, or --payer-key-file"),
        ({"place": Place()}, "say which validator: --config with its configuration, or --socket"),
        ({"reward": "2"}, r"1\.05 ETH .* of credit are missing: say --deposit"),
        ({"is_agreed": False}, "nobody is there to be asked: say --yes"),
        ({"data": b'{"prompt": "only a question"}\n'}, r"data.jsonl, line 301: the row has no response"),
        ({"data": None}, "20 rows are too few for 16 marks"),
        ({"protect": Path("/nowhere.json")}, "cannot read /nowhere.json: No such file"),
    ],
)
async def test_what_cannot_be_submitted_is_refused_before_anything_is_signed(
    shop: Shop, changes: dict[str, Any], why: str
) -> None:
    """D1, D4, complaint 18: and nobody is asked for anything where nobody is there."""
    wish = {
        "data": shop.data,
        "spec": TrainingSpec("tiny", epochs=3, learning_rate=1e-3),
        "reward": "1",
        "scheme": None,
        "probes": None,
        "weights": "none",
        "attempts": 1,
        "is_reusing_revealed": False,
        "protect": None,
        "place": Place(shop.config),
        "key": PayerKey(key_file=shop.key),
        "is_depositing": False,
        "is_quote_only": False,
        "is_agreed": True,
        "json_file": None,
    } | changes
    if "data" in changes:
        rows = b"".join(DATA.splitlines(keepends=True)[:20]) if changes["data"] is None else DATA + changes["data"]
        shop.data.write_bytes(rows)
        wish["data"] = shop.data
    async with shop.office.open() as client:
        with pytest.raises(BadInput, match=why):
            await run_submit(**wish)
        assert await client.requests() == []


async def test_a_bare_key_is_for_development_chains(shop: Shop) -> None:
    """O1."""
    with pytest.raises(BadInput, match="chain 1 is no development chain: take --payer-keystore"):
        PayerKey(key_file=shop.key).check_chain(1)
    PayerKey(keystore=shop.key).check_chain(1)


async def test_without_a_running_validator_every_command_says_so(shop: Shop) -> None:
    for arguments in (("task", "list"), ("task", "show", "0x12"), ("validator", "status")):
        assert "no validator answers at" in await shop.run(*arguments, status=2)
    finished = await asyncio.to_thread(run_touchstone, "task", "list")
    assert (finished.returncode, "say which validator: --config" in finished.stderr) == (2, True)


WEIGHTS = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": bytes(range(256)) * 4_096}


async def test_the_paid_model_is_fetched_whole_and_as_it_stands_on_chain(shop: Shop) -> None:
    """W4, K7: or not at all."""
    office = shop.office
    files = [ModelFile(name, len(content), hashlib.sha256(content).digest()) for name, content in WEIGHTS.items()]
    market = await open_market(office.contract.chain)
    office.contract = market.contract
    await market.contract.deposit(TransactionSender(market.contract.chain, PAYER), COST_WEI)
    shop.write_config()
    await market.open()
    await market.contract.accept(market.miner, market.terms, 0, market.tree.root)
    await market.contract.submit(market.miner, market.terms, 0, hash_model_files(files))
    request = await make_request(office, attempts=1)
    target = office.directory / "model"
    async with office.open() as client:
        request_id = (await client.submit(request, DATA))["request_id"]
        await refuse_fetch(shop, request_id, "there is no model to fetch")

        events = [replace(event, task_id=market.task_id) for event in serve(request, HAPPY_PATH[1:], weights=1)]
        at = next(i for i, event in enumerate(events) if isinstance(event, facts.ModelSubmitted))
        events[at] = replace(events[at], model_hash=hash_model_files(files))
        events.insert(at + 1, facts.WeightsFetched(market.task_id, tuple(files)))
        office.happen(events)
        folder = office.directory / "models" / market.task_id.hex()
        folder.mkdir(parents=True)
        for name, content in WEIGHTS.items():
            (folder / name).write_bytes(content)

        (folder / files[1].path).write_bytes(bytes(files[1].size_bytes))
        await refuse_fetch(shop, request_id, f"{files[1].path} is not as the miner committed to it on chain")
        assert not list(office.directory.glob("*model")) + list(office.directory.glob(".model*"))

        (folder / files[1].path).write_bytes(WEIGHTS[files[1].path])
        assert f"touchstone task fetch {request_id}" in await shop.run("task", "show", request_id)
        fetched = await shop.run("task", "fetch", request_id, target)
        assert f"2 files in {target}, as model 0x{hash_model_files(files).hex()} on chain" in fetched
        assert {path.name: path.read_bytes() for path in target.iterdir()} == WEIGHTS
        await refuse_fetch(shop, request_id, "is there already")

        office.states[market.task_id] = replace(office.states[market.task_id], weights_files=tuple(files[:1]))
        await refuse_fetch(shop, request_id, "list of files is not the model 0x")


async def refuse_fetch(shop: Shop, request_id: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await run_fetch(request_id=request_id, directory=shop.office.directory / "model", place=Place(shop.config))


async def test_an_operator_sees_status_and_story_with_and_without_the_daemon(shop: Shop) -> None:
    request = await make_request(shop.office, attempts=1)
    async with shop.office.open() as client:
        await client.submit(request, DATA)
        task = shop.office.happen(serve(request, HAPPY_PATH[1:8]))
        task_id = "0x" + task.task_id.hex()
        shown = (await shop.run("validator", "status")).replace("\n", "")
        assert f"validator {VALIDATOR.address}, version 1.2.3" in shown
        assert "submitted" in shown
        status = json.loads(await shop.run("validator", "status", "--json", "-"))
        assert [entry["task_id"] for entry in status["tasks"]] == [task_id]
        told = await shop.run("validator", "replay", task_id)
        assert [line.split()[3] for line in told.splitlines() if not line.startswith(" ")] == [
            "TaskPlanned",
            *(type(event).__name__ for event in HAPPY_PATH[1:8]),
        ]
        assert "    DeliverDataset: not done" in told
        assert "a reply number" not in told
        shop.office.journal.stop("an operator must look")
    assert await shop.run("validator", "replay", task_id) == told
    assert "knows no task" in await shop.run("validator", "replay", "0x" + "00" * 32, status=2)


async def test_a_backup_is_whole_and_consistent_while_the_validator_writes(shop: Shop) -> None:
    """P8, complaint 17: what is needed to go on elsewhere, and nothing half copied."""
    office = shop.office
    request = await make_request(office, attempts=1)
    backup = office.directory.with_name("backup")
    async with office.open() as client:
        await client.submit(request, DATA)
        task = office.happen(serve(request, HAPPY_PATH[1:5]))
        (office.directory / "models").mkdir()
        (office.directory / "models" / "adapter.safetensors").write_bytes(b"large")
        said = await shop.run("validator", "backup", backup)
        assert "the master seed is among them" in said
        office.happen(serve(request, HAPPY_PATH[1:])[5:])

    copied = {str(path.relative_to(backup)) for path in backup.rglob("*") if path.is_file()}
    key = f"state/datasets/{next(iter(office.store.present())).folder}"
    assert {"state/journal.sqlite", f"{key}/source.sealed", f"{key}/about.json", "README", "SHA256SUMS"} <= copied
    assert {"keys/master_seed", "keys/validator.key", "touchstone.toml"} <= copied
    assert not [name for name in copied if "sock" in name or "models" in name or name.endswith(("-wal", ".lock"))]
    assert not [path for path in backup.rglob("*") if path.stat().st_mode & 0o077]
    checking = await asyncio.create_subprocess_exec("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=backup)
    assert await checking.wait() == 0

    identity = Identity(office.contract.chain.chain_id, office.contract.address, VALIDATOR.address)
    journal = Journal(backup / "state" / "journal.sqlite", derive_journal_key(MASTER_SEED), identity)
    assert journal.replay() == {task.task_id: task}
    assert [row.request_id for row in journal.requests()] == [request.request_id]
    journal.close()
    office.directory = backup / "state"
    async with office.open() as client:
        assert [view["stage"] for view in await client.requests()] == ["running"]
        assert await office.store.rows(office.store.present()[0])


async def test_a_backup_says_what_it_cannot_copy(shop: Shop) -> None:
    """A journal on a server is backed up by that server's own tools."""
    text = shop.config.read_text().replace('directory = "."', 'directory = "."\njournal = "postgresql://host/journal"')
    shop.config.write_text(text)
    backup = shop.office.directory.with_name("backup without journal")
    said = await shop.run("validator", "backup", backup)
    assert "pg_dump it now" in said
    assert "pg_dump it now" in (backup / "README").read_text()
    assert not (backup / "state" / "journal.sqlite").exists()


async def test_status_can_be_watched_until_ctrl_c(shop: Shop) -> None:
    async with shop.office.open():
        command = (TOUCHSTONE, "validator", "status", "--watch", "--config", shop.config)
        watching = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        assert watching.stdout is not None
        assert f"validator {VALIDATOR.address}".encode() in await watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _output, errors = await watching.communicate()
    assert (watching.returncode, errors) == (130, b"interrupted\n")


async def test_a_backup_of_nothing_leaves_nothing(shop: Shop) -> None:
    backup = shop.office.directory.with_name("no backup")
    assert "cannot copy the journal" in await shop.run("validator", "backup", backup, status=2)
    assert not list(backup.parent.glob(f"*{backup.name}*"))
