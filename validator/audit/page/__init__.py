"""An audit as one HTML file (`validator/html`): every task with its timeline and evidence, findings, accounts."""

from pathlib import Path

from validator.audit.page.contents import Contents
from validator.audit.page.words import FILTERS
from validator.audit.report import Report
from validator.html import write_html


def write_page(report: Report, path: Path) -> None:
    """BadInput if the file cannot be written."""
    write_html(path, __name__, FILTERS, audit=Contents(report))
