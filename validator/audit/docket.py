"""Whom a contradiction is held against.

Rule kept: the shipped contract refuses what breaks its rules, so events that break them under its code do not exist,
and whoever gave them made them up; under other code whoever made the call is at fault, and that code with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from validator.audit.findings import Finding, Party, Proof, Severity
from validator.edges.contract import Network
from validator.evidence.fields import to_hex
from validator.types import Address, TaskId


@dataclass(frozen=True, slots=True)
class Subject:
    """The contract that is audited. `network` is None where its code is not the shipped one.

    `is_whole` says that its history is read from its first block on, so that every balance is known.
    """

    chain_id: int
    address: Address
    network: Network | None
    birth_chain_id: int
    is_whole: bool

    @property
    def is_genuine(self) -> bool:
        return self.network is not None

    @property
    def chain_ids(self) -> tuple[int, ...]:
        """What commitments and signatures may be bound to: the live chain's, and that of before a split."""
        return tuple(dict.fromkeys((self.chain_id, self.birth_chain_id)))


@dataclass
class Docket:
    """The findings about one task, or about none."""

    subject: Subject
    task_id: TaskId | None = None
    findings: list[Finding] = field(default_factory=list)

    def accuse(
        self,
        party: Party,
        account: Address | None,
        check: str,
        message: str,
        *proof: Proof,
        severity: Severity = Severity.MISMATCH,
    ) -> None:
        """Against whoever breaks a rule that no contract can check."""
        self.findings.append(
            Finding(
                severity=severity,
                party=party,
                account=account,
                task_id=to_hex(self.task_id) if self.task_id is not None else None,
                check=check,
                message=message,
                proof=proof,
            )
        )

    def contradict(self, actor: Party, account: Address | None, check: str, message: str, *proof: Proof) -> None:
        """Against an event that the shipped contract cannot have made; `actor` is who would have caused it."""
        if self.subject.is_genuine:
            self.accuse(Party.NODE, None, check, f"{message}; this contract allows no such event", *proof)
        elif actor is Party.CONTRACT:
            self.accuse(Party.CONTRACT, self.subject.address, check, message, *proof)
        else:
            self.accuse(actor, account, check, message, *proof)


def believed(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those about a task that stand: what a node says that was caught lying about it convicts nobody."""
    of_node = tuple(finding for finding in findings if finding.party is Party.NODE)
    return of_node or tuple(findings)
