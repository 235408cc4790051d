"""Chains on which nobody lied: not one finding, on every kind of chain, whatever became of the tasks."""

from pathlib import Path

from tests.audit.auditing import audit, findings_of
from tests.audit.chains import PublicNode
from tests.audit.rounds import EvidenceRound, make_market, play
from validator.audit.report import BundleStatus

TASKS = 220
OUTCOMES = {
    *("open lapsed", "miner lapsed", "validator lapsed", "paid", "refunded", "slashed"),
    *("open", "accepted", "submitted", "challenged", "answered", "judging", "slash pending"),
}


async def test_two_hundred_tasks_of_all_outcomes_and_no_finding(tmp_path: Path):
    market, bundles = make_market(), tmp_path / "bundles"
    bundles.mkdir()
    play(market, TASKS - 8)
    for number in range(8):
        EvidenceRound.open(market, rows_seed=number, hits=2 * number + 1).submit().settle(bundles)
    node, store = PublicNode(market.chain, market.address), tmp_path / "audit.sqlite"
    status, report = await audit(node, tmp_path, store=store)
    assert (status, report.summary.tasks, findings_of(report)) == (0, TASKS, [])
    assert set(report.summary.outcomes) == OUTCOMES
    # The same store again, and now somebody says where bundles are: of the market's own rounds there are none.
    status, report = await audit(node, tmp_path, store=store, bundles=[str(bundles)])
    assert status == 1
    assert report.summary.bundles[BundleStatus.VERIFIED] == 8
    assert {finding.check for finding in findings_of(report)} == {"bundle"}
