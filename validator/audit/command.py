"""`touchstone audit` and `touchstone bundle verify`, from options to exit status."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_utils.address import is_address, to_checksum_address
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from validator.audit.audit import LATE_S, Audit
from validator.audit.bundle_checks import min_entropy_bits, unfair_terms
from validator.audit.chain_reader import ChainReader
from validator.audit.docket import Subject
from validator.audit.findings import Finding, Severity
from validator.audit.page import write_page
from validator.audit.report import Report, Summary
from validator.audit.store import AuditStore
from validator.audit.writing import Totals, finish, json_pieces, tasks_of
from validator.config import DEV
from validator.edges.bundles import BundleSources
from validator.edges.chain import Block, Chain
from validator.edges.contract import parse_code
from validator.errors import BadInput, Transient
from validator.evidence.bundle import MAX_BUNDLE_BYTES, Bundle
from validator.evidence.check import check_bundle
from validator.evidence.fields import to_hex
from validator.files import check_writable, file_error, write_whole
from validator.terminal import STANDARD_OUTPUT, make_console, print_rows
from validator.types import Address, TaskId

CLEAN, MISMATCH, NOT_AUDITED = 0, 1, 2
"""Exit statuses."""
POLL_S = 12.0
SHOWN_FINDINGS = 40
"""On a terminal; files have them all."""


@dataclass(frozen=True)
class AuditOptions:
    """What the command line asks for; `rpc` may be several nodes of one chain, which must agree."""

    rpc: Sequence[str]
    contract: str
    tasks: Sequence[str] = ()
    from_block: int = 0
    bundles: Sequence[str] = ()
    follow: bool = False
    store: Path | None = None
    json_file: Path | None = None
    html: Path | None = None


@dataclass
class _Run:
    """One audit under way."""

    options: AuditOptions
    subject: Subject
    code: bytes
    audit: Audit
    store: AuditStore
    only: Sequence[TaskId]
    console: Console = field(default_factory=make_console)

    def report(self, last: Block) -> Summary:
        """Write what was asked for, and say what was found."""
        totals = Totals()
        shown: list[Finding] = []
        for task in tasks_of(self.store, self.only):
            totals.add(task)
            shown += task.findings[: SHOWN_FINDINGS - len(shown)]
        report = finish(self.subject, self.store, totals, code=self.code, from_block=self.options.from_block, last=last)
        if self.options.json_file is not None:
            pieces = json_pieces(report, tasks_of(self.store, self.only))
            if self.options.json_file == STANDARD_OUTPUT:
                sys.stdout.writelines(pieces)
            else:
                write_whole(self.options.json_file, pieces)
        if self.options.html is not None:
            whole = report.model_copy(update={"tasks": tuple(tasks_of(self.store, self.only))})
            write_page(whole, self.options.html)
        if self.options.json_file != STANDARD_OUTPUT:
            _print_report(self.console, report, [*report.findings, *shown])
        return report.summary


async def run_audit(options: AuditOptions) -> int:
    """Audit what is final now, or for ever with `follow`; the exit status."""
    only = [_parse_task_id(text) for text in options.tasks]
    if not is_address(options.contract):
        raise BadInput(f"{options.contract!r} is no address of a contract")
    for path in (options.json_file, options.html):
        if path not in (None, STANDARD_OUTPUT):
            check_writable(path)
    contract = Address(to_checksum_address(options.contract))
    async with _connected(options.rpc) as chain:
        reader = ChainReader(chain, contract, DEV.finality_depth if chain.is_dev_chain else None)
        code = await reader.code()
        if not code:
            raise BadInput(f"there is no contract at {contract} on chain {chain.chain_id}")
        subject = await make_subject(reader, code, options.from_block)
        about = {"chain_id": chain.chain_id, "contract": contract, "from_block": options.from_block}
        async with sources_of(options.bundles) as sources:
            with AuditStore.opened(options.store, about) as store, _progress() as on_progress:
                audit = Audit(subject, reader, store, sources, options.from_block, on_progress)
                summary = await _audit(_Run(options, subject, code, audit, store, only))
    _check_found(only, summary)
    if not summary.is_clean:
        return MISMATCH
    return CLEAN if summary.is_whole else NOT_AUDITED


async def _audit(run: _Run) -> Summary:
    await run.audit.look_again()
    last = await run.audit.read()
    summary = run.report(last)
    while run.options.follow:
        await asyncio.sleep(POLL_S)
        seen = run.store.get("changes")
        try:
            await run.audit.look_again(last.timestamp_s - LATE_S)
            last = await run.audit.read()
        except Transient as error:
            run.store.rollback()
            print(f"waiting for the chain: {error}", file=sys.stderr)
            continue
        if run.store.get("changes") != seen:
            summary = run.report(last)
    return summary


async def make_subject(reader: ChainReader, code: bytes, from_block: int) -> Subject:
    """What the code at the contract's address says of it."""
    try:
        network, birth_chain_id = parse_code(code)
    except ValueError:
        network, birth_chain_id = None, reader.chain.chain_id
    is_whole = await reader.has_code_before(from_block) is not True
    return Subject(reader.chain.chain_id, reader.contract.address, network, birth_chain_id, is_whole)


def run_bundle_verify(path: Path) -> bool:
    """Whether a bundle agrees with itself, offline; prints every contradiction. BadInput if it is no bundle."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise file_error("read", path, error) from error
    bundle = Bundle.parse(data)
    problems = [(finding.check, finding.message) for finding in check_bundle(bundle)] + unfair_terms(bundle)
    console, test = make_console(), bundle.test
    for check, message in problems:
        console.print(f"WRONG  {check}: {message}")
    rows = [
        ("bundle hash", to_hex(bundle.bundle_hash)),
        ("task", f"{to_hex(bundle.task_id)} of {bundle.contract} on chain {bundle.chain_id}"),
        ("validator", bundle.terms.validator),
        ("miner", bundle.terms.miner),
        ("verdict", f"{test.zone}: {test.hits} of {bundle.terms.n} probes hit, p = {test.p_value}"),
        ("min-entropy", f"{min_entropy_bits(bundle):.1f} bits"),
    ]
    print_rows(console, rows)
    if not problems:
        console.print("it agrees with itself; that it is the settlement's only the chain can tell: touchstone audit")
    return not problems


def _print_report(console: Console, report: Report, findings: Sequence[Finding]) -> None:
    summary = report.summary
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items()) or "none"
    bundles = ", ".join(f"{count} {status}" for status, count in summary.bundles.items()) or "none"
    counts = ", ".join(f"{count} {severity}" for severity, count in summary.severities.items()) or "none"
    for finding in findings[:SHOWN_FINDINGS]:
        mark = "WRONG" if finding.severity is Severity.MISMATCH else str(finding.severity)
        about = f"task {finding.task_id}: " if finding.task_id else ""
        whose = f"{finding.party} {finding.account or ''}".strip()
        console.print(f"{mark}  {about}{finding.check}: {finding.message} [{whose}]")
    rows = [
        ("contract", f"{report.contract} on chain {report.chain_id}"),
        ("blocks", f"{report.from_block} to {report.to_block}"),
        ("tasks", f"{summary.tasks}: {outcomes}"),
        ("bundles", bundles),
        ("findings", counts),
    ]
    print_rows(console, rows)


def _check_found(only: Sequence[TaskId], summary: Summary) -> None:
    if len(set(only)) > summary.tasks:
        raise BadInput(f"only {summary.tasks} of the {len(set(only))} tasks are on this contract")


def _parse_task_id(text: str) -> TaskId:
    try:
        task_id = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        task_id = b""
    if len(task_id) != 32:
        raise BadInput(f"{text!r} is no task id: 0x and 64 hexadecimal digits")
    return TaskId(task_id)


@asynccontextmanager
async def _connected(urls: Sequence[str]) -> AsyncIterator[Chain]:
    chain = await Chain.connect(urls)
    try:
        yield chain
    finally:
        await chain.aclose()


@asynccontextmanager
async def sources_of(places: Sequence[str]) -> AsyncIterator[BundleSources | None]:
    """Where bundles are looked for; None where nobody said where they are."""
    if not places:
        yield None
        return
    async with BundleSources(places, MAX_BUNDLE_BYTES) as sources:
        yield sources


@contextmanager
def _progress() -> Iterator["_Bar"]:
    """Blocks read, on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("blocks"), BarColumn(), MofNCompleteColumn(), TextColumn("left:"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("blocks", total=None)

    def __call__(self, block: int, last: int) -> None:
        self._progress.update(self._task, completed=block, total=last)
