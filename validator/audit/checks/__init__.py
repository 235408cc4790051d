"""What can be checked of a task from its events alone: one pure function for each part of the protocol."""

from validator.audit.checks.course import check_course
from validator.audit.checks.opening import check_opening
from validator.audit.checks.payout import check_payout
from validator.audit.checks.sequels import check_sequels
from validator.audit.checks.settlement import check_settlement
from validator.audit.docket import Docket, Subject
from validator.audit.findings import Finding
from validator.audit.history import TaskHistory

__all__ = ["check_task"]


def check_task(subject: Subject, history: TaskHistory) -> list[Finding]:
    """Everything that is wrong with a task as the chain tells it; nothing of one that was opened before the audit."""
    docket = Docket(subject, history.task_id)
    if history.opened is None and not subject.is_whole:
        return []
    check_course(docket, history)
    if history.opened is not None:
        for check in (check_opening, check_settlement, check_sequels, check_payout):
            check(docket, history)
    return docket.findings
