"""A real browser, the one that `make browser` installs or the machine's own, and what any page must be in it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.support import require_or_skip

INSTALLED = Path(__file__).parents[2] / ".cache" / "browser"
PHONE, DESK = (375, 812), (1280, 900)
ENOUGH = 4.5
"""Contrast of small text, by WCAG 2 at level AA."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """The test is skipped where there is none."""
    own = INSTALLED / "chromium"
    path = str(own) if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        require_or_skip(
            "no browser: `make browser` installs one on Linux (x86-64), elsewhere Chromium or Chrome will do"
        )
    # Its libraries and a font, which a slim machine lacks.
    paths = {"LD_LIBRARY_PATH": str(INSTALLED / "lib"), "XDG_DATA_HOME": str(INSTALLED)} if own.exists() else {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, env=os.environ | paths)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, html: Path, size: tuple[int, int] = DESK, **options) -> Iterator[Page]:
    """The page; whatever it complains of or asks for beyond itself fails the test."""
    with browser.new_context(viewport={"width": size[0], "height": size[1]}, **options) as context:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(html.as_uri())
        yield page
        assert complaints == [html.as_uri()]


def assert_fits(page: Page) -> None:
    """With everything unfolded, nothing but what scrolls in its own box sticks out of the screen."""
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    widest = "Math.max(...[document.documentElement, document.body].map(element => element.scrollWidth))"
    assert page.evaluate(widest) == page.evaluate("innerWidth")
    # `overflow: hidden` hides nothing of it.
    sticking_out = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(element =>
            !element.closest('.scroll, .hidden, svg') && element.getBoundingClientRect().right > innerWidth + 1
        ).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert sticking_out == []


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def luminance(place: Locator, name: str) -> float:
    """Relative luminance of a computed colour, as WCAG 2 defines it."""
    colour = place.evaluate("(element, name) => getComputedStyle(element).getPropertyValue(name)", name)
    numbers = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
    channels = numbers if colour.startswith("color(srgb") else [number / 255 for number in numbers]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
