"""A finished audit as one report: task by task into a file, so that memory does not grow with them.

The whole of it in memory is for whoever makes a page of it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from validator.audit.docket import Docket, Subject, believed
from validator.audit.findings import Finding, Party, Proof, Severity
from validator.audit.report import BundleStatus, Report, Summary, TaskReport
from validator.audit.statistics import Statistics
from validator.audit.store import AuditStore
from validator.edges.chain import Block
from validator.evidence.fields import to_hex
from validator.protocol.commitment import keccak
from validator.types import Address, TaskId

BIASED_P = 1e-6
"""No honest validator's draws ever look like this."""
UNTRAINED_P = 0.05
"""Hits that untrained weights reach with more than this probability are no evidence of training."""


def tasks_of(store: AuditStore, only: Iterable[TaskId] = ()) -> Iterator[TaskReport]:
    """Every task's report, with what its events showed as they came."""
    for task in store.reports(only):
        earlier = store.findings_of(TaskId(bytes.fromhex(task.task_id[2:])))
        yield task.model_copy(update={"findings": believed([*earlier, *task.findings])})


@dataclass
class Totals:
    """Everything about a report but its tasks, which `add` is given one by one."""

    statistics: Statistics = field(default_factory=Statistics)
    outcomes: Counter[str] = field(default_factory=Counter)
    bundles: Counter[BundleStatus] = field(default_factory=Counter)
    severities: Counter[Severity] = field(default_factory=Counter)
    parties: Counter[Party] = field(default_factory=Counter)

    def add(self, task: TaskReport) -> None:
        self.statistics.add(task)
        self.outcomes[task.outcome] += 1
        self.bundles[task.bundle] += 1
        self.add_findings(task.findings)

    def add_findings(self, findings: Iterable[Finding]) -> None:
        found = list(findings)
        self.statistics.add_findings(found)
        self.severities.update(finding.severity for finding in found)
        self.parties.update(finding.party for finding in found)

    def summary(self) -> Summary:
        return Summary(
            tasks=self.outcomes.total(),
            outcomes=dict(sorted(self.outcomes.items())),
            bundles=dict(self.bundles),
            severities=dict(self.severities),
            parties=dict(self.parties),
            is_clean=not self.severities[Severity.MISMATCH],
            is_whole=not self.bundles[BundleStatus.UNREACHABLE],
        )


def finish(subject: Subject, store: AuditStore, totals: Totals, *, code: bytes, from_block: int, last: Block) -> Report:
    """The report without its tasks, which have all been added to `totals`."""
    findings = [*_findings_of_code(subject, code), *store.findings_of(None)]
    findings += [Finding.model_validate(each) for each in (store.get("balances") or {}).values()]
    findings += _findings_of_statistics(subject, totals.statistics)
    totals.add_findings(findings)
    network = subject.network._asdict() if subject.network else None
    return Report(
        chain_id=subject.chain_id,
        contract=subject.address,
        is_genuine_code=subject.is_genuine,
        network=network,
        from_block=from_block,
        to_block=last.number,
        to_block_hash=to_hex(last.hash),
        to_block_timestamp=last.timestamp_s,
        tasks=(),
        accounts=totals.statistics.accounts(),
        findings=tuple(findings),
        summary=totals.summary(),
    )


def _findings_of_code(subject: Subject, code: bytes) -> list[Finding]:
    docket = Docket(subject)
    if not subject.is_genuine:
        message = "the code at the address is not this version of Touchstone: what it lets through is shown below"
        proof = Proof.of_bytes("hash of the code", keccak(code))
        docket.accuse(Party.CONTRACT, subject.address, "code", message, proof)
    if not subject.is_whole:
        message = "the audit begins after the contract's first block: balances are not compared"
        docket.accuse(Party.NODE, None, "partial", message, severity=Severity.NOTE)
    return docket.findings


def _findings_of_statistics(subject: Subject, statistics: Statistics) -> list[Finding]:
    """What only many tasks together show."""
    docket = Docket(subject)
    for account in statistics.accounts():
        if account.picks and account.picks.adjusted_p_value < BIASED_P:
            message = f"its {account.picks.draws} draws are not uniform (p = {account.picks.adjusted_p_value:.1e})"
            docket.accuse(Party.VALIDATOR, Address(account.account), "biased draws", message, severity=Severity.WARNING)
        if account.role == "validator" and account.weights and account.weights.adjusted_p_value > UNTRAINED_P:
            test = account.weights
            message = (
                f"the weights of {test.tasks} paid tasks hit {test.hits} of {test.probes} probes, as untrained ones"
            )
            docket.accuse(Party.VALIDATOR, Address(account.account), "untrained", message, severity=Severity.WARNING)
    return docket.findings


def json_pieces(report: Report, tasks: Iterable[TaskReport]) -> Iterator[str]:
    """The JSON of a report that has these tasks, piece by piece."""
    head, tail = report.model_dump_json().split('"tasks":[]', 1)
    yield head + '"tasks":['
    for number, task in enumerate(tasks):
        yield (",\n" if number else "\n") + task.model_dump_json()
    yield "]" + tail + "\n"
