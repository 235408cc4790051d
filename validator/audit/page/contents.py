"""What the page shows, gathered from a report: which tasks in full, findings by what they say, choices to filter by."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from validator.audit.findings import Finding, Severity
from validator.audit.report import AccountReport, BundleStatus, Report, TaskReport, TimelineEvent

MOST_DETAILED = 500
"""Tasks that are shown in full: more would make a page that phones do not open."""
MOST_IN_GROUP = 50
"""Findings of one kind that are listed beside their tasks."""
UNLIKELY_P = 0.01
"""Adjusted p-values from here on down are pointed out."""
SEVERITIES = tuple(Severity)
"""The worst first."""


@dataclass(frozen=True)
class Group:
    """Findings that say the same of different tasks."""

    severity: Severity
    party: str
    check: str
    findings: tuple[Finding, ...]

    @property
    def listed(self) -> tuple[Finding, ...]:
        return self.findings[:MOST_IN_GROUP]

    @property
    def accounts(self) -> int:
        return len({finding.account for finding in self.findings if finding.account})


@dataclass(frozen=True)
class Mark:
    """One marked row as it was settled, with the reply to it."""

    prompt_hash: str
    head_hash: str
    tail_hash: str
    reply_hash: str

    @property
    def is_hit(self) -> bool:
        return self.reply_hash == self.head_hash and int(self.reply_hash, 16) != 0


@dataclass(frozen=True)
class Choice:
    """What tasks may be filtered by: values, with how many tasks have each; a value stands for its place here."""

    name: str
    counts: dict[str, int]

    def place(self, value: str) -> int:
        return list(self.counts).index(value)


def worst(task: TaskReport) -> str:
    """Of its findings; "none" without any."""
    found = {finding.severity for finding in task.findings}
    return next((severity.value for severity in SEVERITIES if severity in found), "none")


def marks_of(event: TimelineEvent) -> list[Mark]:
    """Of a settlement; empty for other events, and where rows and replies are not as many."""
    rows, replies = event.fields.get("rows", ()), event.fields.get("replies", ())
    if event.event != "TaskSettled" or len(rows) != len(replies):
        return []
    return [Mark(**row, reply_hash=reply) for row, reply in zip(rows, replies, strict=True)]


def other_fields(event: TimelineEvent) -> dict[str, Any]:
    """All but what `marks_of` has."""
    hidden = {"rows", "replies"} if marks_of(event) else set()
    return {name: value for name, value in event.fields.items() if name not in hidden}


class Contents:
    """The whole page."""

    worst = staticmethod(worst)
    marks_of = staticmethod(marks_of)
    other_fields = staticmethod(other_fields)
    unlikely_p = UNLIKELY_P

    def __init__(self, report: Report) -> None:
        self.report = report

    @cached_property
    def detailed(self) -> frozenset[str]:
        """Ids of the tasks that are shown in full: those with the worst findings first, then the newest."""
        ranks = [*(severity.value for severity in SEVERITIES), "none"]
        newest_first = self.report.tasks[::-1]
        tasks = sorted(newest_first, key=lambda task: ranks.index(worst(task)))
        return frozenset(task.task_id for task in tasks[:MOST_DETAILED])

    @cached_property
    def groups(self) -> list[Group]:
        """Every finding, those of no one task included; the worst first."""
        found: dict[tuple[Severity, str, str], list[Finding]] = {}
        for finding in (*self.report.findings, *(each for task in self.report.tasks for each in task.findings)):
            found.setdefault((finding.severity, finding.party.value, finding.check), []).append(finding)
        groups = [Group(*key, tuple(findings)) for key, findings in found.items()]
        return sorted(groups, key=lambda group: (SEVERITIES.index(group.severity), -len(group.findings)))

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Those in which tasks differ."""
        tasks = self.report.tasks
        choices = [
            _choice("findings", map(worst, tasks)),
            _choice("outcome", (task.outcome for task in tasks)),
            _choice("bundle", (task.bundle.value for task in tasks)),
        ]
        return {choice.name: choice for choice in choices if len(choice.counts) > 1}

    @property
    def mismatches(self) -> int:
        return self.report.summary.severities.get(Severity.MISMATCH, 0)

    @property
    def has_looked_at_bundles(self) -> bool:
        return not self.report.summary.bundles.keys() <= {BundleStatus.NONE, BundleStatus.NOT_ASKED}

    def accounts(self, role: str) -> list[AccountReport]:
        """Of one role, those with the most findings first."""
        own = [account for account in self.report.accounts if account.role == role]
        return sorted(own, key=lambda account: (-sum(account.findings.values()), -account.tasks))


def _choice(name: str, values: Iterable[str]) -> Choice:
    return Choice(name, dict(Counter(values).most_common()))
