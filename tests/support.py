"""What several test folders share."""

import os
from typing import NoReturn

import pytest


def require_or_skip(reason: str) -> NoReturn:
    """Skip the test because this machine lacks something, or fail it where everything is required (`.ci/run`)."""
    if os.environ.get("TOUCHSTONE_REQUIRE_ALL") == "1":
        pytest.fail(f"required here: {reason}")
    pytest.skip(reason)
