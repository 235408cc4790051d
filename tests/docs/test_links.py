"""Every link in every page leads to a file, and to a heading in it; of other sites only the address is read."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_broken(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https" or parts.hostname == "127.0.0.1", link
            assert parts.hostname, link
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if parts.fragment:
            assert parts.fragment in anchors(target), f"{link} names no heading"


def test_links_are_found_and_so_are_headings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# What a `finding` means, and "who"\n\n| a |\n|---|\n| [there](x.md#y) |\n\n![plot](z.svg)\n')
    assert list(links(page)) == ["x.md#y", "z.svg"]
    assert anchors(page) == {"what-a-finding-means-and-who"}
