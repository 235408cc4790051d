"""The pages that people read, and what stands in them: commands, links, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")),
    ]
)
SHELL = ("sh", "bash", "console")
"""What a block of commands says that it is; in a console's they stand behind a prompt, and others are output."""
_READER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, order=True)
class Command:
    """One line that a reader types; continued lines are one."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def tokens(page: Path) -> list[Token]:
    return _READER.parse(page.read_text("utf-8"))


def commands(name: str) -> list[Command]:
    """Of a page, in the order in which they stand."""
    return [command for found in _sections(ROOT / name).values() for command in found]


def section(name: str, title: str) -> list[Command]:
    """Those under one heading of a page, down to the next."""
    return _sections(ROOT / name)[title]


def toml_blocks(name: str) -> list[str]:
    """The configurations that a page shows, in order."""
    return [token.content for token in tokens(ROOT / name) if token.type == "fence" and token.info.strip() == "toml"]


def _sections(page: Path) -> dict[str, list[Command]]:
    found: dict[str, list[Command]] = {"": []}
    title, page_tokens = "", tokens(page)
    for index, token in enumerate(page_tokens):
        if token.type == "heading_open":
            title = page_tokens[index + 1].content
            found.setdefault(title, [])
        elif token.type == "fence" and token.info.strip() in SHELL:
            lines = re.sub(r" *\\\n *", " ", token.content).splitlines()
            if token.info.strip() == "console":
                lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            found[title] += [Command(str(page.relative_to(ROOT)), line.strip()) for line in lines if line.strip()]
    return found


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield str(child.attrGet("href") or child.attrGet("src"))


def anchors(page: Path) -> set[str]:
    """As GitHub names headings, and the site too."""
    found = tokens(page)
    titles = [found[i + 1].content for i, token in enumerate(found) if token.type == "heading_open"]
    plain = [re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}
