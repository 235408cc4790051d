"""`touchstone audit` and `touchstone bundle verify` as people and programs meet them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts import TaskState
from tests.audit.auditing import audit, findings_of
from tests.audit.chains import PublicNode, change
from tests.audit.rounds import EvidenceRound, make_market
from tests.contracts.market import Market
from tests.e2e.command import run_touchstone
from tests.edges.loopback import always, serving
from validator.audit.command import AuditOptions, run_audit, run_bundle_verify
from validator.audit.report import BundleStatus, Report
from validator.edges.bundles import BundleSources
from validator.edges.contract import TaskClosed
from validator.errors import BadInput, Transient
from validator.evidence.bundle import MAX_BUNDLE_BYTES, Bundle
from validator.protocol.commitment import keccak
from validator.web import server


@pytest.fixture
def settled(tmp_path: Path) -> tuple[Market, Bundle, Path]:
    """One paid task, and the directory with its bundle."""
    market, bundles = make_market(), tmp_path / "bundles"
    bundles.mkdir()
    return market, EvidenceRound.open(market).submit().settle(bundles), bundles


async def run(*arguments: str | Path) -> tuple[int, str, str]:
    ended = await asyncio.to_thread(run_touchstone, *arguments)
    return ended.returncode, ended.stdout, ended.stderr


async def test_a_clean_chain_is_0_a_lie_1_and_no_answer_2(settled: tuple[Market, Bundle, Path], tmp_path: Path):
    market, _bundle, bundles = settled
    node = PublicNode(market.chain, market.address)
    async with node.serving() as url:
        options = ("--rpc", url, "--contract", market.address)
        status, out, err = await run("audit", *options, "--bundles", bundles, "--json", "-")
        assert (status, err) == (0, "")
        assert Report.model_validate_json(out).summary.bundles == {BundleStatus.VERIFIED: 1}
        node.lie = change(TaskClosed, lambda event: replace(event, to_miner=event.to_miner + 1))
        node.prepare()
        status, out, _err = await run("audit", *options)
        assert status == 1
        assert "WRONG" in out
        assert "1 wei too much" in out
    status, _out, err = await run("audit", *options)
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contract": "0x12"}, "no address"),
        ({"tasks": ["0x12"]}, "no task id"),
        ({"tasks": ["0x" + "12" * 32]}, "only 0 of the 1 tasks"),
        ({"bundles": ["/nowhere/at/all"]}, "no directory"),
        ({"bundles": ["ftp://host/bundles"]}, "no place of bundles"),
        ({"json_file": Path("/nowhere/report.json")}, "cannot write"),
        ({"contract": "0x" + "11" * 20}, "no contract"),
    ],
)
async def test_bad_input_is_one_clear_line(settled: tuple[Market, Bundle, Path], options: Any, message: str):
    market, _bundle, _bundles = settled
    node = PublicNode(market.chain, market.address)
    if message == "no contract":
        node.code = b""
        node.eth_getCode = lambda _address, _tag: "0x"  # type: ignore[method-assign]
    async with node.serving() as url:
        with pytest.raises(BadInput, match=message):
            await run_audit(AuditOptions(**{"rpc": [url], "contract": market.address} | options))


async def test_chosen_tasks_alone_are_reported(settled: tuple[Market, Bundle, Path], tmp_path: Path):
    """What is wrong with others is no news about these."""
    market, bundle, bundles = settled
    market.settle(market.reach(TaskState.SUBMITTED), hits=16)
    lie = change(TaskClosed, lambda event: replace(event, burned=1), which=1)
    chosen = ["0x" + bundle.task_id.hex()]
    node = PublicNode(market.chain, market.address, lie)
    status, report = await audit(node, tmp_path, tasks=chosen, bundles=[str(bundles)])
    assert (status, [task.task_id for task in report.tasks]) == (0, chosen)
    assert (await audit(node, tmp_path))[0] == 1


async def test_a_report_says_what_was_recomputed(settled: tuple[Market, Bundle, Path], tmp_path: Path):
    market, bundle, bundles = settled
    _status, report = await audit(PublicNode(market.chain, market.address), tmp_path, bundles=[str(bundles)])
    (task,) = report.tasks
    assert task.verdict is not None
    assert (task.verdict.hits, task.verdict.p_value, task.verdict.min_entropy_bits) == (15, bundle.test.p_value, 64)
    assert task.verdict.is_from_bundle
    assert task.terms["n"] == 16
    assert task.payout is not None
    assert task.payout.to_miner == str(bundle.terms.reward)
    assert [event.event for event in task.timeline] == [
        *("TaskOpened", "OrderConsumed", "TaskAccepted", "ModelSubmitted", "TaskSettled", "TaskClosed")
    ]
    assert json.loads((tmp_path / "report.json").read_text())["version"] == "touchstone-audit/1"
    assert report.network is not None
    assert report.is_genuine_code


# --- where bundles are


@asynccontextmanager
async def listener(directory: Path) -> AsyncIterator[str]:
    """The routes of a validator's own web listener."""
    from validator.evidence.store import BundleStore
    from validator.health.progress import Progress

    unused: Progress = None  # type: ignore[assignment]
    app = server.make_app(unused, BundleStore(directory, bytes(32)))
    async with server.serving_web(app, "127.0.0.1", 0) as (host, port):
        yield f"http://{host}:{port}/bundles"


async def test_bundles_come_from_a_validators_listener_too(settled: tuple[Market, Bundle, Path], tmp_path: Path):
    market, _bundle, bundles = settled
    async with listener(bundles) as url:
        status, report = await audit(PublicNode(market.chain, market.address), tmp_path, bundles=[url])
    assert (status, report.tasks[0].bundle) == (0, BundleStatus.VERIFIED)


async def test_a_server_that_is_away_is_no_evidence(settled: tuple[Market, Bundle, Path], tmp_path: Path, monkeypatch):
    """The chain's part of the audit is complete, and the exit status says that the rest is not."""
    monkeypatch.setattr("validator.edges.bundles.PAUSE_S", 0.0)
    market, _bundle, _bundles = settled
    async with serving(always(status=503)) as url:
        status, report = await audit(PublicNode(market.chain, market.address), tmp_path, bundles=[url])
    assert (status, report.tasks[0].bundle, report.summary.is_clean) == (2, BundleStatus.UNREACHABLE, True)
    assert [finding.severity for finding in findings_of(report)] == ["warning"]


async def test_one_place_that_has_it_is_enough(settled: tuple[Market, Bundle, Path], tmp_path: Path):
    _market, bundle, bundles = settled
    (tmp_path / "empty").mkdir()
    async with (
        serving(always(status=404)) as url,
        BundleSources([str(tmp_path / "empty"), url, str(bundles)], MAX_BUNDLE_BYTES) as sources,
    ):
        assert await sources.find(bundle.bundle_hash) == bundle.encode()
        assert await sources.find(keccak(b"another")) is None


async def test_a_server_cannot_make_us_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("validator.edges.bundles.PAUSE_S", 0.0)
    async with serving(always(body=bytes(5_000_000))) as url, BundleSources([url], 1_000) as sources:
        found = await sources.find(keccak(b"a bundle"))
        assert found is not None
        assert len(found) < 100_000
    redirecting = always(status=302, headers={"Location": "http://127.0.0.1:1/"})
    async with serving(redirecting) as url, BundleSources([url], 1_000) as sources:
        with pytest.raises(Transient, match="302"):
            await sources.find(keccak(b"a bundle"))


# --- offline


def test_a_bundle_alone_is_verified(settled: tuple[Market, Bundle, Path], capsys: pytest.CaptureFixture[str]):
    _market, bundle, bundles = settled
    (path,) = bundles.iterdir()
    assert run_bundle_verify(path)
    assert "15 of 16 probes hit" in capsys.readouterr().out
    test = bundle.test.model_copy(update={"hits": 16, "base_hits": 14})
    path.write_bytes(bundle.model_copy(update={"test": test}).encode())
    assert not run_bundle_verify(path)
    out = capsys.readouterr().out
    assert "WRONG  test: 15 hits are paid, not 16 paid" in out
    assert "WRONG  base model: " in out


def test_what_is_no_bundle_is_bad_input(tmp_path: Path):
    path = tmp_path / "bundle.json"
    with pytest.raises(BadInput, match="cannot read"):
        run_bundle_verify(path)
    path.write_bytes(b"{}")
    ended = run_touchstone("bundle", "verify", path)
    assert (ended.returncode, ended.stderr.partition(":")[0]) == (2, "error")
