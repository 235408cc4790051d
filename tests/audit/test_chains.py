"""The same audit on py-evm, on anvil, and on the chain that a whole daemon has worked on."""

from pathlib import Path

import pytest

from tests.audit.auditing import find_in, findings_of
from tests.daemon import plans, virtual_time
from tests.daemon.memory_miner import Behaviour
from tests.daemon.memory_rpc import Wire, open_chain
from tests.daemon.world import World
from tests.edges.test_contract import MINER, open_market
from tests.support import require_or_skip
from validator.audit.command import AuditOptions, run_audit
from validator.audit.findings import Finding, Severity
from validator.audit.report import BundleStatus, Report, TaskReport
from validator.edges import devnet
from validator.edges.chain import Chain
from validator.errors import BadInput
from validator.types import Wei


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
async def test_a_real_nodes_chain_is_clean(kind: str, tmp_path: Path):
    """A task that is challenged, answered and refunded, and money drawn."""
    json_file = tmp_path / "report.json"
    try:
        async with devnet.open_chain(kind) as url:
            chain = await Chain.connect(url)
            market = await open_market(chain)
            await market.open()
            await market.submit()
            await market.contract.challenge(market.validator, market.terms, 0, market.leaves)
            await market.contract.answer(market.miner, market.terms, 0, market.replies(5))
            await market.settle(5, signature=b"")
            await market.contract.withdraw(market.miner, Wei(1_000))
            await chain.aclose()
            options = AuditOptions(rpc=[url], contract=market.contract.address, json_file=json_file)
            assert await run_audit(options) == 0
    except BadInput as error:
        require_or_skip(str(error))
    report = Report.model_validate_json(json_file.read_text())
    assert findings_of(report) == []
    (task,) = report.tasks
    assert (task.outcome, task.miner, task.verdict and task.verdict.hits) == ("refunded", MINER.address, 5)


BEHAVIOURS = {
    "paid": Behaviour(),
    "refunded": Behaviour(hit_share=0.5),
    "slashed": Behaviour(hit_share=0.0),
    "open lapsed": Behaviour(accepts=False),
    "miner lapsed": Behaviour(training_s=10_000.0),
    "miner lapsed, silent": Behaviour(answers_probes=False, answers_challenges=False),
    "paid, after a challenge": Behaviour(signs=False),
}


def test_what_a_daemon_did_is_clean_and_its_evidence_is_whole(tmp_path: Path):
    audit_a_daemons_life(tmp_path, rounds=1)


@pytest.mark.soak
def test_what_a_busy_daemon_did_is_clean_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plans, "REWARD_WEI", Wei(10**16))
    monkeypatch.setattr("tests.daemon.world.PATIENCE_S", 5_000.0)
    audit_a_daemons_life(tmp_path, rounds=8)


def audit_a_daemons_life(tmp_path: Path, rounds: int) -> None:
    """All of its tasks are about one dataset; where one was opened after another's settlement, that is said."""
    clock = virtual_time.Clock()

    async def live() -> tuple[list[Finding], list[TaskReport]]:
        world = await World.create([*BEHAVIOURS.values()] * rounds, tmp_path, clock, Wire())
        journal = await world.live()
        journal.close()
        chain = await open_chain(world.node)
        try:
            return await find_in(chain, world.contract.address, tmp_path / "validator" / "bundles")
        finally:
            await chain.aclose()
            await world.contract.chain.aclose()

    found, tasks = virtual_time.run(live(), clock)
    assert {(finding.check, finding.severity) for finding in found} <= {("public marks", Severity.WARNING)}
    expected = sorted(name.partition(",")[0] for name in BEHAVIOURS) * rounds
    assert sorted(task.outcome for task in tasks) == sorted(expected)
    settled = {"paid", "refunded", "slashed"}
    assert {task.bundle for task in tasks if task.outcome in settled} == {BundleStatus.VERIFIED}
