"""One fresh market per test."""

import pytest

from tests.contracts.market import Market


@pytest.fixture
def market() -> Market:
    return Market()
