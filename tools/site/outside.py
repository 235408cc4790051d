"""A hook of mkdocs: pages of the site that lie outside docs/, and links between them and those inside.

Whoever reads the repository follows the same links as whoever reads the site, so each text stays where people look for
it, and every relative link is one from file to file in the repository.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {
    "deploy/README.md": "deploy.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""In the repository, and on the site."""
FILES = ("deploy/config/miner.toml", "deploy/miner/train.py", "deploy/systemd/touchstone-miner.service")
"""What pages link to that is no page: on the site under the same path."""
LINK = re.compile(r"(?<=\]\()(?!https?://|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    for source, name in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for name in FILES:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_more: Any) -> str:
    """Links as they are in the repository, turned into links between pages of the site."""
    on_site = page.file.src_uri
    here = next((source for source, name in PAGES.items() if name == on_site), f"docs/{on_site}")

    def turn(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[1]))
        if target == "README.md":
            target = "docs/index.md"
        name = PAGES.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(name, posixpath.dirname(on_site) or ".")

    return LINK.sub(turn, markdown)
