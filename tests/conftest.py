"""What holds for every test: Hypothesis draws the same examples everywhere, Ctrl-C works, no secret is left on disk.

A shell starts what it puts in the background with SIGINT ignored, and children inherit that: the commands that the
tests interrupt would not notice.
"""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import sentinels

signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "touchstone", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("touchstone")


@pytest.fixture(scope="session", autouse=True)
def no_sentinel_is_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """H5, I5, K8: of what tests registered, nothing is in what any test of this process left on disk."""
    yield
    assert sentinels.find_in_files(tmp_path_factory.getbasetemp(), sentinels.registered) == []
