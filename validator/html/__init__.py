"""A page as one HTML file that needs nothing else: no network, no other file, no script to be read.

Rule kept: whatever the page is about is text. Jinja escapes it, and the page's own policy lets no other script run than
the one that was written here.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from validator.files import write_whole


def write_html(path: Path, package: str, filters: Mapping[str, Callable[..., Any]], **contents: Any) -> None:
    """Render the page that `package` has (`page.html.jinja`, which extends the base here, `style.css`, `page.js`).

    `contents` are its variables. BadInput if the file cannot be written.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader(__name__, ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    script = _read(package, "page.js")
    page = environment.get_template("page.html.jinja").render(
        contents,
        style=_read(__name__, "base.css") + _read(package, "style.css"),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_whole(path, page)


def _read(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text("utf-8")
