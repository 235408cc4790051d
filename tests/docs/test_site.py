"""The pages as a site: built strictly, nothing fetched from anywhere, and readable on a phone."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.report.browser import PHONE, running_browser

pytestmark = pytest.mark.xdist_group("site")
NOT_FOUND = "404.html"
"""Served for any path, so its links begin at the root of a server."""
SOURCES = ("docs", "tools/site", "deploy", "mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--config-file", root / "mkdocs.yml", "--site-dir", site],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    built = build(ROOT, place)
    assert built.returncode == 0, built.stderr
    return place


def test_a_page_asks_nobody_for_anything(site: Path) -> None:
    """Scripts, styles, fonts and pictures are the site's own; only links lead elsewhere."""
    for page in site.rglob("*.html"):
        if page.name == NOT_FOUND:
            continue
        parts = re.findall(
            r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=[\"']?([^\"' >]+)", page.read_text()
        )
        assert parts
        for part in parts:
            assert "//" not in part.removeprefix("data:"), part
            assert (page.parent / part.partition("?")[0]).exists(), part
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//|@import", style.read_text())


BROKEN = {
    "docs/index.md": ["gone.md", "quickstart.md#no-such-heading"],
    "docs/strategies.md": ["../deploy/Dockerfile"],
    "deploy/README.md": ["../docs/alerts.md#nosuchalert"],
}


def test_every_broken_link_fails_the_build(tmp_path: Path) -> None:
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    for name, links in BROKEN.items():
        with (tmp_path / name).open("a") as file:
            file.writelines(f"\n[gone]({link})\n" for link in links)
    failed = build(tmp_path, tmp_path / "built")
    assert failed.returncode != 0
    assert failed.stderr.count("WARNING") == sum(map(len, BROKEN.values())), failed.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_said: Any) -> None:
        pass


@pytest.fixture
def url(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.mark.parametrize("names", ["[qrs]*", pytest.param("**/*", marks=pytest.mark.soak)])
def test_no_page_is_wider_than_a_phone_and_none_complains(names: str, site: Path, url: str) -> None:
    with running_browser() as browser, browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(url) else None)
        for file in sorted(site.glob(f"{names}.html")):
            if file.name == NOT_FOUND:
                continue
            page.goto(url + str(file.relative_to(site)))
            assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0], file
            assert page.locator("h1").count() == 1, file
        assert said == []
        page.goto(f"{url}index.html")
        page.locator("label[for=__search]").first.click()
        page.locator("input.md-search__input").press_sequentially("master seed")
        page.locator(".md-search-result__link").first.wait_for()
