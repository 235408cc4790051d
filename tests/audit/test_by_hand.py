"""docs/audit-by-hand.md, run as it is printed: on a real chain, by public tools alone; honest tasks, and every lie."""

import ast
import asyncio
import json
import os
import re
import runpy
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from contracts import TaskState, load_artifact
from tests.daemon.live_miners import MinerWish
from tests.daemon.live_validator import LOOPBACK
from tests.daemon.live_world import LiveWorld, open_world
from tests.edges.fault_proxy import faulty
from tests.support import require_or_skip
from validator.audit.command import CLEAN, AuditOptions, run_audit
from validator.audit.report import BundleStatus, Report
from validator.edges.contract import ContractEvent, TaskClosed, TaskOpened, TaskSettled
from validator.types import Address

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("by_hand")]
ROOT = Path(__file__).parents[2]
PAGE, SCRIPT = ROOT / "docs" / "audit-by-hand.md", ROOT / "docs" / "audit_by_hand.py"
INSTALLED = ROOT / ".cache" / "anvil" / "node_modules" / "@foundry-rs"
OUTCOMES = {"honest": "paid", "half": "refunded", "silent": "paid", "cheat": "slashed"}
MINERS = [
    MinerWish("honest", "lookup"),
    MinerWish("half", "lookup:0.4"),
    MinerWish("silent", "lookup", "unsigned"),
    MinerWish("cheat", "lookup:0.02"),
]
BLOCKS_BEHIND = 1_100
"""So many that all is final, and that the page asks for logs in more than one piece."""
SETTLEMENT = ["bytes32", "(bytes32,bytes32,bytes32)[]", "bytes32[]", "bytes", "uint256", "bytes32"]
N_WORD = 13
"""Of the data of `TaskOpened`, in which the validator's nonce is word 0."""


@dataclass(frozen=True)
class World:
    """Settled tasks by the names of their miners; their validator still serves its bundles."""

    url: str
    contract: Address
    bundles_url: str
    honest_bundle: Any
    events: dict[str, list[ContractEvent]]

    def event(self, miner: str, kind: type[ContractEvent]) -> Any:
        (found,) = (event for event in self.events[miner] if type(event) is kind)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_world(tmp_path_factory.mktemp("by_hand"), MINERS, tasks=len(MINERS)) as live:
        others = {wish.name: address for address, wish in live.miners.items()}
        cheat = others.pop("cheat")
        # Only a test of 64 probes slashes.
        await live.hand_in([64])
        validator = await live.start_validator(in_flight=1, per_miner=1, deny=[*others.values()])
        await live.wait_until_opened(1, validator)
        await validator.stop()
        await live.hand_in([16] * len(others))
        validator = await live.start_validator(in_flight=len(MINERS), per_miner=1, deny=[cheat])
        await live.wait_until_submitted(len(MINERS), validator)
        await live.pass_deadlines(validator)
        await live.mine(BLOCKS_BEHIND)
        yield await read_world(live)


async def read_world(live: LiveWorld) -> World:
    miners = {task: live.miners[address].name for task, address in (await live.miners_of_tasks()).items()}
    events: dict[str, list[ContractEvent]] = {name: [] for name in OUTCOMES}
    for event in await live.events():
        if hasattr(event, "task_id"):
            events[miners[event.task_id]].append(event)
    (honest,) = (event for event in events["honest"] if isinstance(event, TaskSettled))
    bundles_url = f"http://{LOOPBACK}:{live.port}/bundles"
    async with aiohttp.ClientSession() as session, session.get(f"{bundles_url}/0x{honest.bundle_hash.hex()}") as answer:
        bundle = json.loads(await answer.read())
    return World(live.url, live.contract.address, bundles_url, bundle, events)


# --- the page


def commands() -> str:
    return "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))


def find_cast() -> Path:
    found = shutil.which("cast", path=os.pathsep.join(map(str, INSTALLED.glob("cast-*/bin")))) or shutil.which("cast")
    if found is None:
        require_or_skip("cast is not installed: run `make anvil`, or put it on the PATH")
    return Path(found)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a `vyper` that says at once what the real one says: for all runs of the page but one."""
    directory = tmp_path_factory.mktemp("compiled")
    vyper = directory / "vyper"
    vyper.write_text(f"#!/bin/sh\necho 0x{load_artifact().runtime_bytecode.hex()}\n")
    vyper.chmod(0o700)
    return directory


@dataclass(frozen=True)
class Printed:
    """What the page's checks said, and the line between them that names the events."""

    ok: list[str]
    no: set[str]
    history: str
    status: int


async def follow(
    world: World, miner: str, directory: Path, *tools: Path, rpc: str | None = None, bundles: str | None = None
) -> Printed:
    """Run the page's commands as its reader does; `tools` come before what is on the PATH."""
    opened = world.event(miner, TaskOpened)
    path = [*map(str, tools), str(Path(sys.executable).parent), str(find_cast().parent), os.environ["PATH"]]
    own = {
        "RPC": rpc or world.url,
        "CONTRACT": world.contract,
        "TASK": "0x" + opened.task_id.hex(),
        "FIRST": "0",
        "BUNDLES": bundles or world.bundles_url,
        "PATH": os.pathsep.join(path),
        "TMPDIR": str(directory),
    }
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", commands()), cwd=ROOT, env=os.environ | own, stdout=asyncio.subprocess.PIPE
    )
    lines = (await process.communicate())[0].decode().splitlines()
    assert process.returncode is not None
    said: dict[str, list[str]] = {"ok  ": [], "NO  ": []}
    for line in lines:
        said.get(line[:4], []).append(line[4:])
    history = next((line for line in lines if line.startswith("TaskOpened")), "")
    return Printed(said["ok  "], {line.partition(":")[0] for line in said["NO  "]}, history, process.returncode)


@pytest.mark.parametrize("miner", OUTCOMES)
async def test_every_check_of_an_honest_task_is_ok(world, compiled, tmp_path, miner):
    assert world.event(miner, TaskClosed).outcome.name.lower() == OUTCOMES[miner]
    printed = await follow(world, miner, tmp_path, *([] if miner == "honest" else [compiled]))
    assert (printed.no, printed.status) == (set(), 0)
    assert ("Challenged Answered" in printed.history) == (miner == "silent")
    assert set(printed.ok) == expected_checks(is_answered=miner == "silent")


def expected_checks(*, is_answered: bool) -> set[str]:
    """All of the page and of the script, less those of the branch that this task did not take."""
    text = commands()
    signed = {"the replies are signed by the miner's evidence key"}
    answered = set(re.findall(r'same "([^"]+)"', text[text.index("*Answered*") : text.index("REPLIES_HASH=")]))
    late = {f"{what} in time" for what in re.findall(r'in_time "([^"]+)"', text)}
    on_page = {check for check in re.findall(r'same "([^"]+)"', text) if "$1" not in check}
    on_time = late - ({"challenged in time", "answered in time"} if not is_answered else set())
    return (on_page | on_time | set(checks_of_script())) - (signed if is_answered else answered)


def checks_of_script() -> list[str]:
    return re.findall(r'^check\("([^"]+)"', SCRIPT.read_text("utf-8"), re.MULTILINE)


async def test_the_program_comes_to_the_same_on_the_same_chain(world, tmp_path):
    json_file, html = tmp_path / "audit.json", tmp_path / "audit.html"
    options = AuditOptions([world.url], world.contract, bundles=[world.bundles_url], json_file=json_file, html=html)
    assert await run_audit(options) == CLEAN
    report = Report.model_validate_json(json_file.read_text())
    settled = {name: world.event(name, TaskSettled) for name in OUTCOMES}
    assert {task.task_id: (task.outcome, task.verdict and task.verdict.hits) for task in report.tasks} == {
        "0x" + event.task_id.hex(): (OUTCOMES[name], event.hits) for name, event in settled.items()
    }
    assert report.summary.bundles == {BundleStatus.VERIFIED: len(settled)}
    assert f"Every verdict of {len(settled)} tasks holds" in html.read_text("utf-8")


# --- a node that lies


def with_word(data: str, number: int, change: Callable[[int], int]) -> str:
    at = 2 + 64 * number
    return data[:at] + f"{change(int(data[at : at + 64], 16)):064x}" + data[at + 64 :]


def resettled(data: str, change: Callable[[list[Any]], None]) -> str:
    values = list(decode(SETTLEMENT, bytes.fromhex(data[2:])))
    values[1:3] = map(list, values[1:3])
    change(values)
    return "0x" + encode(SETTLEMENT, values).hex()


def falsify_logs(world: World, **changes: Callable[[str], str]) -> Callable[[Any], Any]:
    """What a node's logs are changed to, by the name of their event."""
    topics = {type(event).__name__: event.log.topics[0] for events in world.events.values() for event in events}

    def falsify(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for log in logs:
            for name, change in changes.items():
                if log["topics"][0] == "0x" + topics[name].hex():
                    log["data"] = change(log["data"])
        return logs

    return falsify


async def test_a_lie_of_the_node_is_named_and_nothing_else_is(world, compiled, tmp_path):
    def cheat_on_the_hits(values: list[Any]) -> None:
        values[4] += 1

    settled_at = world.event("honest", TaskSettled).log.block_number

    def settle_late(block: dict[str, Any]) -> dict[str, Any]:
        is_settlement = int(block["number"], 16) == settled_at
        return block | {"timestamp": hex(2**40)} if is_settlement else block

    async with faulty(world.url) as (proxy, url):
        proxy.falsify["eth_getBlockByNumber"] = settle_late
        proxy.falsify["eth_getLogs"] = falsify_logs(
            world,
            TaskAccepted=lambda data: with_word(data, 0, lambda key: key ^ 1),
            TaskSettled=lambda data: resettled(data, cheat_on_the_hits),
            TaskClosed=lambda data: with_word(data, 3, lambda to_miner: to_miner - 1),
        )
        printed = await follow(world, "honest", tmp_path, compiled, rpc=url)
    assert printed.status == 1
    assert printed.no == {
        "settled in time",
        "the replies are signed by the miner's evidence key",
        "the hits are counted right",
        "the money",
    }


async def test_where_everything_is_a_lie_no_check_of_the_page_is_ok(world, compiled, tmp_path):
    def settle_otherwise(values: list[Any]) -> None:
        _salt, rows, replies, *_rest = values
        rows[0], rows[1] = rows[1], rows[0]
        replies[:] = map(keccak, replies[1:])
        values[3] = bytes(65)

    falsify_data = falsify_logs(
        world,
        TaskOpened=lambda data: with_word(data, N_WORD, lambda n: n + 1),
        TaskSettled=lambda data: resettled(data, settle_otherwise),
    )
    (tmp_path / ("0x" + world.event("silent", TaskSettled).bundle_hash.hex())).write_text("{}")
    async with faulty(world.url) as (proxy, url):
        proxy.falsify["eth_getCode"] = lambda code: code.replace("60", "61", 1) + "00" * 32
        proxy.falsify["eth_getBlockByNumber"] = lambda block: (
            block | {"timestamp": hex(2**40 - int(block["number"], 16))}
        )
        proxy.falsify["eth_getLogs"] = lambda logs: falsify_data(logs)[::-1]
        printed = await follow(world, "silent", tmp_path, compiled, rpc=url, bundles=tmp_path.as_uri())
    assert (printed.ok, printed.status) == ([], 1)
    assert printed.no == expected_checks(is_answered=True) - set(checks_of_script())


# --- a bundle, or a payout, that lies


TERMS, SPEC, ROWS, TREE, REPLIES = (
    "the bundle has the terms of the chain",
    "the spec is that of the terms",
    "the rows are those on chain",
    "they are in the dataset that the miner accepted",
    "the replies are those on chain",
)
DRAWS, HITS, BOUNDS, P_VALUE, INTERVAL, RATES, OUTCOME, MONEY = (
    "every row begins with the words that were drawn",
    "the hits",
    "the bound on each probe",
    "the p-value",
    "the interval of the hit rate",
    "the error rates",
    "the outcome",
    "the money",
)
LIES: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "terms.reward": (lambda reward: reward + "0", {TERMS}),
    "terms.slashing": (lambda slashing: not slashing, {TERMS}),
    "terms.miner": (lambda _miner: "0x" + "11" * 20, {TERMS}),
    "spec": (lambda spec: spec + " ", {SPEC}),
    "dataset_salt": (lambda _salt: "0x" + "11" * 32, {ROWS, TREE, REPLIES}),
    "rows.0.prompt": (lambda prompt: prompt + " ", {ROWS, TREE}),
    "rows.15.response": (lambda response: "So " + response, {ROWS, TREE, DRAWS}),
    "rows.14.response": (lambda response: response + "!", {ROWS, TREE}),
    "rows.7.proof": (lambda proof: proof[1:], {TREE}),
    "rows.3.picks": (lambda picks: [1 - pick for pick in picks], {DRAWS}),
    "rows.3.candidates.0": (lambda words: [*words, words[0]], {DRAWS, BOUNDS, P_VALUE, RATES}),
    "rows.3.candidates.1": (lambda words: [*words, "two words"], {DRAWS, BOUNDS, P_VALUE, RATES}),
    "rows.3.candidates.2": (lambda words: [*words, "no\u00a0word"], {DRAWS, BOUNDS, P_VALUE, RATES}),
    "rows.3.candidates.3": (lambda words: [*words, "another"], {BOUNDS, P_VALUE, RATES}),
    "replies.4.text": (lambda text: "So " + text, {REPLIES}),
    "test.hits": (lambda hits: hits - 1, {HITS}),
    "test.p0.9": (lambda _p0: "6.260000e-02", {BOUNDS}),
    "test.p_value": (lambda _p_value: "5.421111e-20", {P_VALUE}),
    "test.tail": (lambda _tail: "5.420911e-20", {P_VALUE}),
    "test.hit_rate_95.0": (lambda _low: "7.941028e-01", {INTERVAL}),
    "test.error_rates.0.probability": (lambda _size: "5.098818e-12", {RATES}),
    "test.error_rates.5.probability": (lambda _power: "3.840737e-02", {RATES}),
}
"""Places in the bundle of an honest task, what is made of them, and which checks of the script are not ok then."""
PAYOUTS = {
    "the miner is under-paid": (lambda closed: with_word(closed, 3, lambda to_miner: to_miner - 1), {MONEY}),
    "the payer is over-paid": (lambda closed: with_word(closed, 1, lambda to_payer: to_payer + 1), {MONEY}),
    "the validator keeps more": (lambda closed: with_word(closed, 2, lambda to_validator: to_validator + 1), {MONEY}),
    "something is burned": (lambda closed: with_word(closed, 4, lambda burned: burned + 1), {MONEY}),
    "another outcome": (lambda closed: with_word(closed, 0, lambda _outcome: TaskState.REFUNDED), {OUTCOME, MONEY}),
    "no outcome": (lambda closed: with_word(closed, 0, lambda _outcome: 99), {OUTCOME, MONEY}),
}


@pytest.fixture
def run_script(world, tmp_path, monkeypatch, capsys) -> Callable[..., set[str]]:
    """The script on the honest task, with changes of the bundle or the payout: the checks that were not ok."""

    def run(change_bundle=lambda _bundle: None, change_closed=lambda closed: closed) -> set[str]:
        opened, settled, closed = (
            "0x" + world.event("honest", kind).log.data.hex() for kind in (TaskOpened, TaskSettled, TaskClosed)
        )
        bundle = json.loads(json.dumps(world.honest_bundle))
        change_bundle(bundle)
        (tmp_path / "bundle.json").write_text(json.dumps(bundle))
        arguments = [str(SCRIPT), opened, settled, change_closed(closed), str(tmp_path / "bundle.json")]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        no = {line[4:] for line in capsys.readouterr().out.splitlines() if line.startswith("NO  ")}
        assert ended.value.code == bool(no)
        return no

    return run


@pytest.mark.parametrize("place", LIES)
async def test_a_bundle_that_lies_is_found(run_script, place):
    change, expected = LIES[place]
    *path, last = (int(step) if step.isdigit() else step for step in place.split("."))

    def lie(bundle: Any) -> None:
        for step in path:
            bundle = bundle[step]
        bundle[last] = change(bundle[last])

    assert run_script(lie) == expected


@pytest.mark.parametrize("lie", PAYOUTS)
async def test_a_payout_that_lies_is_found(run_script, lie):
    change, expected = PAYOUTS[lie]
    assert run_script(change_closed=change) == expected


async def test_every_check_of_the_script_is_missed_by_some_lie(run_script):
    assert run_script() == set()
    assert set(checks_of_script()) == set.union(
        *(expected for _change, expected in [*LIES.values(), *PAYOUTS.values()])
    )


async def test_the_script_imports_no_project_code():
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert foreign == {"eth_abi", "eth_utils", "numpy", "scipy"}
