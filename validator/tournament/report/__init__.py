"""A tournament as one HTML file that needs nothing else: no network, no other file, no script to be read.

Rule kept: whatever comes from a store is text. Jinja escapes it, and the page's own policy lets no other script run
than the one that was written here.
"""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from validator.files import write_whole
from validator.tournament.report import words
from validator.tournament.report.contents import MOST_CURVES, read_contents


def write_report(store_path: Path, html_path: Path) -> None:
    """BadInput if there is no store, or no finished round in it."""
    contents = read_contents(store_path)
    environment = Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= words.FILTERS
    script = files(__name__).joinpath("page.js").read_text("utf-8")
    page = environment.get_template("page.html.jinja").render(
        contents=contents,
        most_curves=MOST_CURVES,
        style=files(__name__).joinpath("style.css").read_text("utf-8"),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_whole(html_path, page)
