"""A tournament as one HTML file (`validator/html`)."""

from pathlib import Path

from validator.html import write_html
from validator.tournament.report.contents import MOST_CURVES, read_contents
from validator.tournament.report.words import FILTERS


def write_report(store_path: Path, html_path: Path) -> None:
    """BadInput if there is no store, or no finished round in it."""
    contents = read_contents(store_path)
    write_html(html_path, __name__, FILTERS, contents=contents, most_curves=MOST_CURVES)
