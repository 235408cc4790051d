"""One fresh market per test, and a fresh real node for the tests that need one."""

from collections.abc import Iterator

import pytest

from tests.contracts.anvil import Anvil, running_anvil
from tests.contracts.market import Market


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    with running_anvil() as anvil:
        yield anvil
