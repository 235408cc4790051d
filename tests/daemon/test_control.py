"""The control socket: nobody but its owner, every answer one line, and nothing accepted that is not on disk."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.office import (
    COST_WEI,
    DATA,
    PAYER,
    REWARD_WEI,
    ROWS,
    VALIDATOR,
    Office,
    found_office,
    make_request,
    open_office,
    serve,
)
from tests.edges.conftest import NO_FLOORS
from tests.factories import HAPPY_PATH, OPENED
from validator.control.client import ControlClient
from validator.control.server import open_private_socket
from validator.edges.chain import TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.devnet import open_chain
from validator.edges.keys import dev_mnemonic_signer
from validator.errors import BadInput
from validator.protocol import events as facts
from validator.protocol.commitment import ModelFile, keccak
from validator.protocol.state import Weights
from validator.protocol.wire import encode_training_file
from validator.requests.quotes import Wish
from validator.types import EffectKey, Wei


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as office:
        yield office


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_the_socket_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        with open_private_socket(tmp_path / "control.sock") as opened:
            assert opened.family is socket.AF_UNIX
            assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
            assert os.umask(umask) == umask, "the process's own is back"
    finally:
        os.umask(before)


def test_what_a_dead_daemon_left_is_replaced_and_a_live_one_is_not(tmp_path: Path):
    """P7."""
    path = tmp_path / "control.sock"
    open_private_socket(path).close()
    assert path.is_socket()
    with open_private_socket(path), pytest.raises(BadInput, match=f"is running already: it answers at {path}"):
        open_private_socket(path)


@pytest.mark.parametrize(
    ("place", "why"),
    [("x" * 120, "too long.*choose a shorter state directory"), ("missing/control.sock", "No such file"), (".", "use")],
)
def test_a_place_where_no_socket_can_be_is_refused(tmp_path: Path, place: str, why: str):
    """K5."""
    with pytest.raises(BadInput, match=f"cannot open the control socket .*{why}"):
        open_private_socket(tmp_path / place)


async def test_without_a_daemon_one_line_says_what_to_do(tmp_path: Path):
    async with ControlClient.connect(tmp_path / "control.sock") as client:
        with pytest.raises(BadInput, match=r"no validator answers at .*touchstone validator run.*--config"):
            await client.status()


async def test_a_quote_says_what_is_missing_on_chain(office: Office):
    wish = Wish(PAYER.address, 300, Wei(2 * REWARD_WEI), None, None, Weights.NONE, 1)
    async with office.open() as client:
        quote = await client.quote(wish)
    assert (quote.contract, quote.validator) == (office.contract.address, VALIDATOR.address)
    assert quote.chain_id == office.contract.chain.chain_id
    assert (quote.scheme, quote.n) == ("canary", 16)
    assert (quote.credit_wei, quote.missing_wei) == (COST_WEI, COST_WEI)


async def test_a_request_is_taken_in_once_and_outlives_a_restart(office: Office):
    request = await make_request(office)
    async with office.open() as client:
        view = await client.submit(request, DATA)
        assert view["stage"] == "queued"
        assert view["request_id"] == "0x" + request.request_id.hex()
        assert await client.submit(request, DATA) == view
        assert office.calls == ["on_request"]
    async with office.open() as client:
        assert await client.requests() == [view]
        assert await client.show(view["request_id"]) == view
        (waiting,) = office.desk.waiting(0)
        assert (waiting.request, waiting.order) == (request, request.orders[0])
        assert await office.store.rows(waiting.dataset) == ROWS


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DATA + b'{"prompt": ""}\n', "the dataset, line 301: the row has no prompt"),
        (DATA.replace(b"\n", b"\xff\n", 7), "the dataset, line 1: not valid UTF-8"),
        (b"\xef\xbb\xbf" + DATA, "the dataset, line 1: "),
        (b"", "the dataset is empty"),
        (encode_training_file(ROWS[:-1]), r"not the one that the Orders were signed for \(D5\)"),
        (encode_training_file(ROWS[::-1]), r"not the one that the Orders were signed for \(D5\)"),
    ],
    ids=["row", "UTF-8", "BOM", "empty", "cut", "reordered"],
)
async def test_data_that_is_bad_or_another_is_refused_with_its_row_and_not_kept(office: Office, data: bytes, why: str):
    """D1, D5."""
    async with office.open() as client:
        with pytest.raises(BadInput, match=why):
            await client.submit(await make_request(office), data)
        assert await client.requests() == []
        assert office.store.present() == []


async def test_a_few_rows_are_refused_before_anything_is_kept(office: Office):
    """D4."""
    request = await make_request(office, rows=ROWS[:299])
    async with office.open() as client:
        with pytest.raises(BadInput, match="299 rows are too few for 16 marks"):
            await client.submit(request, encode_training_file(ROWS[:299]))
        assert office.store.present() == []


async def test_credit_is_promised_to_one_request_only(office: Office):
    """One attempt is paid for at a time, and two requests are two attempts."""
    first, second = await make_request(office), await make_request(office, nonce=10)
    async with office.open() as client:
        view = await client.submit(first, DATA)
        with pytest.raises(BadInput, match=r"free credit is 0 ETH .*--deposit"):
            await client.submit(second, DATA)
        await client.cancel(view["request_id"])
        assert (await client.submit(second, DATA))["stage"] == "queued"


@pytest.mark.parametrize("where", ["used on chain", "signed for another contract", "too little reward"])
async def test_an_order_that_could_not_be_opened_is_refused(office: Office, where: str):
    request = await make_request(office)
    if where == "used on chain":
        await office.contract.cancel_order(TransactionSender(office.contract.chain, PAYER), 2)
        why = "Order 2 of 2 has the nonce 2, which is used or cancelled"
    elif where == "signed for another contract":
        office.contract = await Touchstone.deploy(
            TransactionSender(office.contract.chain, dev_mnemonic_signer(9)), NO_FLOORS
        )
        await office.contract.deposit(TransactionSender(office.contract.chain, PAYER), COST_WEI)
        why = "Order 1 of 2 is not signed by"
    else:
        why = "the reward is at least 2 ETH"
    async with office.open(min_reward_wei=2 * 10**18 if "reward" in where else 0) as client:
        with pytest.raises(BadInput, match=why):
            await client.submit(request, DATA)


async def test_weights_of_a_base_model_that_is_not_here_are_refused(office: Office, monkeypatch: pytest.MonkeyPatch):
    """What could not be probed later is not taken in now."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    request = await make_request(office, weights=Weights.DELIVERED)
    async with office.open() as client:
        with pytest.raises(BadInput, match=r"weights for the base model tiny cannot be checked .* in \[model_work\] "):
            await client.submit(request, DATA)
        assert await client.requests() == []


async def test_after_the_sunset_nothing_is_taken_in(office: Office):
    guarded = NO_FLOORS._replace(guardian=VALIDATOR.address)
    office.contract = await Touchstone.deploy(TransactionSender(office.contract.chain, VALIDATOR), guarded)
    await office.contract.sunset(TransactionSender(office.contract.chain, VALIDATOR))
    async with office.open() as client:
        with pytest.raises(BadInput, match="opens no new tasks any more"):
            await client.submit(await make_request(office), DATA)


async def test_a_cancelled_request_stays_cancelled_and_a_finished_one_cannot_be(office: Office):
    request, other = await make_request(office, attempts=1), await make_request(office, nonce=10)
    async with office.open() as client:
        view = await client.submit(request, DATA)
        cancelled = await client.cancel(view["request_id"])
        assert cancelled["stage"] == "cancelled"
        again = await client.cancel(view["request_id"])
        assert again["cancelled_at_s"] == cancelled["cancelled_at_s"]
        finished = await client.submit(other, DATA)
        office.happen(serve(other, HAPPY_PATH[1:]))
        with pytest.raises(BadInput, match=r"has ended already: paid, 15 of 16 probes hit"):
            await client.cancel(finished["request_id"])
    async with office.open() as client:
        assert [view["stage"] for view in await client.requests()] == ["cancelled", "paid"]


async def test_a_request_tells_its_attempts_verdict_and_reasons(office: Office):
    """Complaint 16."""
    request = await make_request(office)
    async with office.open() as client:
        shown = (await client.submit(request, DATA))["request_id"]
        lapsed = replace(HAPPY_PATH[-1], outcome="open_lapsed")
        office.happen(serve(request, [OPENED, lapsed]))
        view = await client.show(shown)
        assert (view["stage"], view["attempts"]) == ("queued", 1)
        assert "did not accept in time: reward and fee, 1.05 ETH" in view["reason"]
        office.happen(serve(request, HAPPY_PATH[1:], attempt=1))
        view = await client.show(shown)
    assert (view["stage"], view["attempts"]) == ("paid", 2)
    assert [task["outcome"] for task in view["tasks"]] == ["open_lapsed", "paid"]
    assert view["tasks"][1]["verdict"].startswith("paid: 15 of 16 probes hit (pay at 12, slash at 1), p = ")


WEIGHTS = b"\x08" + bytes(3 << 20)


async def test_the_paid_models_files_can_be_fetched_and_nothing_else(office: Office):
    """K7, V12: no path of the request's leads out of the model's folder."""
    request = await make_request(office)
    file = ModelFile("model.safetensors", len(WEIGHTS), keccak(WEIGHTS))
    path = HAPPY_PATH[1:]
    async with office.open() as client:
        shown = (await client.submit(request, DATA))["request_id"]
        events = serve(request, path, weights=Weights.DELIVERED)
        fetched = facts.WeightsFetched(events[0].task_id, (file,))
        submitted = next(i for i, event in enumerate(events) if isinstance(event, facts.ModelSubmitted)) + 1
        folder = office.directory / "models" / events[0].task_id.hex()
        folder.mkdir(parents=True)
        (folder / file.path).write_bytes(WEIGHTS)
        (folder.parent / "secret").write_bytes(b"secret")
        office.happen([*events[:submitted], fetched])
        with pytest.raises(BadInput, match="no model to fetch"):
            await collect(client, shown, file.path)
        office.happen(events[submitted:])
        model = (await client.show(shown))["model"]
        assert model["files"] == [[file.path, file.size_bytes, "0x" + file.sha256.hex()]]
        assert await collect(client, shown, file.path) == WEIGHTS
        for name in ("..%2Fsecret", "%2Fetc%2Fpasswd", "other.bin"):
            with pytest.raises(BadInput, match=r"no file|Not Found"):
                await collect(client, shown, name)
        (folder / file.path).unlink()
        with pytest.raises(BadInput, match="may have been deleted"):
            await collect(client, shown, file.path)


async def collect(client: ControlClient, request_id: str, name: str) -> bytes:
    return b"".join([chunk async for chunk in client.model_file(request_id, name)])


async def test_status_and_story_tell_everything_but_the_marks(office: Office):
    """H5: replies are the marks of a task that is not settled; afterwards they are public."""
    request = await make_request(office)
    async with office.open() as client:
        await client.submit(request, DATA)
        events = serve(request, HAPPY_PATH[1:])
        task_id = "0x" + events[0].task_id.hex()
        office.happen(events[:-2])
        now_s = asyncio.get_running_loop().time()
        office.running |= {
            EffectKey(f"{task_id}/Poke/submitted"): now_s - 5,
            EffectKey(f"{task_id}/RequestTranscript"): now_s - 100,
            EffectKey("0x00/Settle"): now_s - 1000,
        }
        office.refusals[EffectKey(f"{task_id}/Poke/submitted")] = "poke: too early"
        status, story = await client.status(), await client.story(task_id)
        (task,) = status["tasks"]
        assert (task["phase"], task["answered"], task["miner"]) == ("submitted", 16, events[0].terms.miner)
        assert (task["oldest_effect"], round(task["oldest_effect_age_s"])) == ("RequestTranscript", 100)
        assert (task["refused"], status["waits_for"]) == ("poke: too early", "no miner is free")
        assert status["money"] == {
            "account_wei": await office.contract.chain.balance_wei(VALIDATOR.address),
            "credit_wei": 0,
            "bonds_wei": events[0].terms.validator_bond,
        }
        assert [view["stage"] for view in status["requests"]] == ["running"]
        assert (status["version"], status["stopped"], status["health"]) == ("1.2.3", None, {"is_ok": True})
        assert [entry["event"] for entry in story] == [type(event).__name__ for event in events[:-2]]
        assert "a reply number" not in json.dumps([status, story])
        office.happen(events[-2:])
        assert (await client.status())["closed"] == {"paid": 1}
        assert "a reply number 3" in json.dumps(await client.story(task_id), ensure_ascii=False)


async def test_without_a_node_what_is_known_is_told(tmp_path: Path):
    """Complaint 5, R5: the operator must see most when things stand still."""
    async with open_chain("embedded") as url:
        office = await found_office(url, tmp_path)
        request = await make_request(office, attempts=1)
        async with office.open() as client:
            known = await client.submit(request, DATA)
    async with office.open() as client:
        status = await client.status()
        assert status["money"] == {"account_wei": None, "credit_wei": None, "bonds_wei": 0}
        assert status["requests"] == [known]
        assert (await client.cancel(known["request_id"]))["stage"] == "cancelled"
    await office.contract.chain.aclose()


@pytest.mark.parametrize(
    ("method", "route", "why"),
    [
        ("GET", "v1/requests/0x12", "is no id: 0x and 64 hex digits"),
        ("GET", "v1/requests/" + "zz" * 32, "is no id"),
        ("GET", "v1/requests/0x" + "00" * 32, "there is no request 0x0000"),
        ("POST", "v1/requests/0x" + "00" * 32 + "/cancel", "there is no request"),
        ("GET", "v1/tasks/0x" + "00" * 32 + "/story", "knows no task 0x0000"),
        ("POST", "v1/quotes", "no quote can be asked for so: "),
        ("POST", "v1/requests", "a request is multipart"),
        ("GET", "v2/status", "Not Found"),
        ("DELETE", "v1/status", "Method Not Allowed"),
    ],
)
async def test_what_is_asked_in_a_wrong_way_gets_one_line(office: Office, method: str, route: str, why: str):
    async with office.open() as client:
        with pytest.raises(BadInput, match=why) as refusal:
            await client._json(method, route)
    assert "\n" not in str(refusal.value)
