"""What a page consists of, without a browser."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Every tag with its attributes, and that what is opened is closed."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        assert len(attributes) == len(dict(attributes)), f"an attribute of {tag} is there twice"
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def assert_needs_nothing_else(page: str) -> None:
    """The page is well formed, and neither loads, sends nor runs anything but its own script; its links lead to it."""
    tags = Tags(page).found
    assert [tag for tag, _attributes in tags].count("script") == 1
    assert not {"img", "iframe", "object", "base", "form"} & {tag for tag, _attributes in tags}
    for _tag, attributes in tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:"))
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page
    ids = [attributes["id"] for _tag, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(attributes["href"] or "")[1:] for tag, attributes in tags if tag == "a"} <= set(ids)
