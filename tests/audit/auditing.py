"""The command, run on a node of a test, and its report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.audit.chains import PublicNode
from validator.audit.audit import Audit
from validator.audit.chain_reader import ChainReader
from validator.audit.command import AuditOptions, make_subject, run_audit, sources_of
from validator.audit.findings import Finding
from validator.audit.report import Report, TaskReport
from validator.audit.store import AuditStore
from validator.audit.writing import Totals, finish, tasks_of
from validator.edges.chain import Chain
from validator.edges.nodes import Nodes
from validator.edges.rpc_node import Node
from validator.types import Address


async def audit(node: PublicNode, directory: Path, **options: Any) -> tuple[int, Report]:
    """Exit status and report of `touchstone audit`; files go into `directory`."""
    json_file = directory / "report.json"
    async with node.serving() as url:
        status = await run_audit(AuditOptions(rpc=[url], contract=node.contract, json_file=json_file, **options))
    return status, Report.model_validate_json(json_file.read_text())


def findings_of(report: Report) -> list[Finding]:
    return [*report.findings, *(finding for task in report.tasks for finding in task.findings)]


class _DirectNode(Node):
    """The way to a node of this process, where the HTTP exchange stands (as in tests/daemon/memory_rpc.py)."""

    def __init__(self, node: PublicNode) -> None:
        super().__init__("http://127.0.0.1", "0")
        self._node = node

    async def _post(self, call: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._node.answer(call)


async def find(node: PublicNode, bundles: Path | None = None) -> list[Finding]:
    """Everything that an audit of all blocks finds, without HTTP and without a report's file."""
    node.prepare()
    rpc_node = _DirectNode(node)
    chain = Chain(Nodes([rpc_node], await rpc_node.introduce()))
    try:
        found, _tasks = await find_in(chain, Address(node.contract), bundles)
    finally:
        await chain.aclose()
    return found


async def find_in(
    chain: Chain, contract: Address, bundles: Path | None = None
) -> tuple[list[Finding], list[TaskReport]]:
    """All findings, and the tasks."""
    reader = ChainReader(chain, contract, 0)
    subject = await make_subject(reader, await reader.code(), 0)
    with AuditStore.opened(None, {}) as store:
        async with sources_of([] if bundles is None else [str(bundles)]) as sources:
            last = await Audit(subject, reader, store, sources, 0).read()
        totals, tasks = Totals(), list(tasks_of(store))
        for task in tasks:
            totals.add(task)
        report = finish(subject, store, totals, code=await reader.code(), from_block=0, last=last)
    return [finding for task in tasks for finding in task.findings] + list(report.findings), tasks
