"""A chain with a bit of everything, really audited, for the page to show: all outcomes, good and bad evidence, lies."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.audit.auditing import audit
from tests.audit.chains import PublicNode, RecordedChain, change, only
from tests.audit.rounds import EvidenceRound, make_market, paths
from validator.audit.report import Report
from validator.edges.contract import TaskClosed
from validator.protocol.commitment import encode_scheme
from validator.types import Wei

HOSTILE_NAME = '<img src=x onerror="x()">'
"""What a payer may call a scheme: any 32 bytes."""


def audit_everything(directory: Path) -> Report:
    """Mismatches of a validator and of the node beside honest tasks; `directory` gets the bundles and the report."""
    # In a thread, since a browser's test has a running loop already.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _audit(directory)).result()


async def _audit(directory: Path) -> Report:
    chain = RecordedChain()
    market = make_market(chain)
    bundles = directory / "bundles"
    bundles.mkdir()
    for play in paths(market):
        play()
        chain.now += 90
    for rows_seed, where in ((1, bundles), (2, bundles), (3, None)):
        EvidenceRound.open(market, rows_seed, hits=16 - rows_seed).submit().settle(where)
    named = next(bundles.iterdir())
    named.write_bytes(named.read_bytes() + b" ")
    market.open(market.make_round(scheme=encode_scheme(HOSTILE_NAME)))
    node = PublicNode(chain, market.address)
    underpaid = len(only(chain.events, TaskClosed)) - 1
    node.lie = change(TaskClosed, lambda closed: replace(closed, to_miner=Wei(closed.to_miner - 1)), underpaid)
    _status, report = await audit(node, directory, bundles=[str(bundles)])
    return report
