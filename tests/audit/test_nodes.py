"""Public nodes as they are: limits on ranges, rate limits, forgotten states, answers that break off; over real HTTP."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from contracts import TaskState
from tests.audit.auditing import audit, findings_of
from tests.audit.chains import Lie, PublicNode, RecordedChain, change
from tests.audit.rounds import make_market, play
from tests.contracts.market import Market
from validator.audit import chain_reader
from validator.audit.command import AuditOptions, run_audit
from validator.audit.report import Report
from validator.audit.store import AuditStore
from validator.edges import nodes
from validator.edges.contract import TaskClosed
from validator.errors import BadInput, Fatal, Transient

TASKS = 18


@pytest.fixture(scope="module")
def market() -> Market:
    """Every outcome, on a chain on which something happens every 25 blocks."""
    made = make_market(RecordedChain(gap=25))
    play(made, TASKS)
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test waits for no minute to pass."""
    monkeypatch.setattr(chain_reader, "PAUSES_S", (0.01, 0.05))


def rpc_error(code: int, message: str) -> Callable[[], web.Response]:
    return lambda: web.json_response({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message}})


NODES = {
    "1,000 blocks": {"max_range": 1_000},
    "100 blocks": {"max_range": 100},
    "10 blocks": {"max_range": 10},
    "HTTP 429": {"busy_every": 5},
    "JSON-RPC -32005": {
        "busy_every": 5,
        "refusal": rpc_error(-32005, "daily request count exceeded, request rate limited"),
    },
    "JSON-RPC 429": {"busy_every": 5, "refusal": rpc_error(429, "Your app has exceeded its compute units per second")},
    "HTTP 503": {"busy_every": 7, "refusal": lambda: web.Response(status=503)},
    "nonsense": {"busy_every": 7, "refusal": lambda: web.Response(text="<html>")},
    "pruned": {"is_pruned": True},
    "pruned, 1,000 blocks, HTTP 429": {"is_pruned": True, "max_range": 1_000, "busy_every": 6},
}


@pytest.mark.parametrize("name", NODES)
async def test_any_public_node_will_do(market: Market, tmp_path: Path, name: str):
    node = PublicNode(market.chain, market.address, **NODES[name])
    status, report = await audit(node, tmp_path)
    assert (status, report.summary.tasks, findings_of(report)) == (0, TASKS, [])
    assert set(node.asked) <= {
        *("eth_chainId", "eth_getBlockByNumber", "eth_getLogs", "eth_getCode", "eth_call", "eth_getBalance")
    }


async def test_a_node_that_refuses_everything_ends_the_audit(market: Market, tmp_path: Path, monkeypatch):
    """And what it had said until then is kept."""
    monkeypatch.setattr(chain_reader, "PATIENCE_S", 0.2)
    node = PublicNode(market.chain, market.address, max_range=0)
    async with node.serving() as url:
        with pytest.raises(Fatal, match="max block range"):
            await run_audit(AuditOptions(rpc=[url], contract=node.contract))


async def test_it_goes_on_where_it_stopped(market: Market, tmp_path: Path):
    """The second run reads nothing twice, and its report is that of a run without a break."""
    whole = await audit(PublicNode(market.chain, market.address), tmp_path)
    store, head = tmp_path / "audit.sqlite", market.chain.head
    market.chain.head = head // 2
    try:
        first = PublicNode(market.chain, market.address, lie=up_to(head // 2), is_pruned=True)
        await audit(first, tmp_path, store=store)
    finally:
        market.chain.head = head
    second = PublicNode(market.chain, market.address)
    assert await audit(second, tmp_path, store=store) == whole
    assert second.ranges[0][0] == head // 2 + 1


def up_to(block: int) -> Lie:
    """The chain as it was when that was its newest block."""
    return lambda events: [each for each in events if each.event.log.block_number <= block]


async def test_a_run_that_is_killed_loses_a_stretch_at_most(market: Market, tmp_path: Path):
    whole = await audit(PublicNode(market.chain, market.address), tmp_path)
    store = tmp_path / "audit.sqlite"
    starts = []
    for _life in range(3):
        node = PublicNode(market.chain, market.address, max_range=300)
        running = asyncio.create_task(audit(node, tmp_path, store=store))
        await until(lambda node=node: len({first for first, _last in node.ranges}) >= 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()
        starts.append(node.ranges[0][0])
    assert starts == sorted(set(starts))
    assert await audit(PublicNode(market.chain, market.address), tmp_path, store=store) == whole


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - what is waited for is the work of another program
            await asyncio.sleep(0.01)


async def test_a_chain_with_another_past_is_read_again(market: Market, tmp_path: Path):
    """What was called final has changed: nothing of the old past stays."""
    store = tmp_path / "audit.sqlite"
    lie = change(TaskClosed, lambda event: replace(event, to_miner=event.to_miner + 1))
    status, _report = await audit(PublicNode(market.chain, market.address, lie), tmp_path, store=store)
    assert status == 1
    node = PublicNode(market.chain, market.address, branch_from=10)
    status, report = await audit(node, tmp_path, store=store)
    assert (status, findings_of(report)) == (0, [])
    assert report.to_block_hash == "0x" + node._block_hash(market.chain.head).hex()


async def test_a_node_that_is_behind_makes_nobody_a_liar(market: Market, tmp_path: Path):
    """As one of several behind a load balancer may be."""
    store, node = tmp_path / "audit.sqlite", PublicNode(market.chain, market.address)
    await audit(node, tmp_path, store=store)
    market.chain.head -= 1
    try:
        with pytest.raises(Transient, match="is behind"):
            await audit(node, tmp_path, store=store)
    finally:
        market.chain.head += 1
    assert (await audit(node, tmp_path, store=store))[0] == 0


async def test_two_audits_do_not_share_a_store(market: Market, tmp_path: Path):
    store = tmp_path / "audit.sqlite"
    with AuditStore.opened(store, {}), pytest.raises(BadInput, match="locked"):
        await audit(PublicNode(market.chain, market.address), tmp_path, store=store)


async def test_a_store_is_of_one_audit(market: Market, tmp_path: Path):
    store = tmp_path / "audit.sqlite"
    await audit(PublicNode(market.chain, market.address), tmp_path, store=store)
    with pytest.raises(BadInput, match="another audit"):
        await audit(PublicNode(market.chain, market.address), tmp_path, store=store, from_block=1)
    other = tmp_path / "other.sqlite"
    other.write_bytes(b"no database at all" * 100)
    with pytest.raises(BadInput, match="no store of an audit"):
        await audit(PublicNode(market.chain, market.address), tmp_path, store=other)


async def test_what_began_before_the_audit_is_not_judged(market: Market, tmp_path: Path):
    """From the middle on: no balances, and no task whose opening is not known."""
    status, report = await audit(PublicNode(market.chain, market.address), tmp_path, from_block=market.chain.head // 2)
    assert status == 0
    assert 0 < report.summary.tasks < TASKS
    assert [(finding.check, finding.severity) for finding in findings_of(report)] == [("partial", "note")]


async def test_it_follows_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """New blocks come into the report while it runs, until it is stopped."""
    monkeypatch.setattr("validator.audit.command.POLL_S", 0.05)
    made = make_market()
    node, json_file = PublicNode(made.chain, made.address), tmp_path / "report.json"
    async with node.serving() as url:
        options = AuditOptions(rpc=[url], contract=made.address, follow=True, json_file=json_file)
        following = asyncio.create_task(run_audit(options))
        try:
            await until(json_file.exists)
            made.settle(made.reach(TaskState.SUBMITTED), hits=16)
            node.prepare()
            await until(lambda: Report.model_validate_json(json_file.read_text()).tasks != ())
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    (task,) = Report.model_validate_json(json_file.read_text()).tasks
    assert task.outcome == "paid"


async def test_two_nodes_must_say_the_same(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What one of them made up is believed by nobody: there is no report, and nobody is blamed."""
    lying = PublicNode(
        market.chain, market.address, change(TaskClosed, lambda event: replace(event, to_miner=event.to_miner + 1))
    )
    monkeypatch.setattr(chain_reader, "PATIENCE_S", 0.1)
    monkeypatch.setattr(nodes, "DISAGREEMENT_PAUSES_S", (0.01,))
    async with PublicNode(market.chain, market.address).serving() as honest_url, lying.serving() as lying_url:
        with pytest.raises(Transient, match="disagree"):
            await run_audit(AuditOptions(rpc=[honest_url, lying_url], contract=market.address))
