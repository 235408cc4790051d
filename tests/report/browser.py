"""A real browser: the one that `make browser` installs, or the machine's own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.support import require_or_skip

INSTALLED = Path(__file__).parents[2] / ".cache" / "browser"
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
