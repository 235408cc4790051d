"""Gas of an honest task and of the largest settlement, as `make bench` measures them (`benchmarks/gas.py`)."""

import pytest

from benchmarks.gas import measure_settlement, measure_task
from tests.contracts.anvil import Anvil

MAX_TRANSACTION_BYTES = 128 * 1024
MAX_TRANSACTION_GAS = 5_000_000
"""A sixth of a block of 30 million."""
MANY_ROWS = 100_000


@pytest.mark.parametrize("k", [1_000, MANY_ROWS])
@pytest.mark.parametrize(("n", "max_gas"), [(16, 450_000), (64, 700_000)])
def test_an_honest_task(n: int, k: int, max_gas: int) -> None:
    """The dearest case, every account's first task; however many rows there are."""
    gas = measure_task(n, k)["gas"]
    print(f"\nhonest task, n = {n}, K = {k:,}: {sum(gas.values()):,} gas = {gas}")
    assert list(gas) == ["open_task", "accept", "submit", "settle, paid", "withdraw"]
    assert sum(gas.values()) <= max_gas


def test_the_largest_settlement_fits_a_transaction_and_a_block() -> None:
    """E9: n = 64, K = 100,000, every row proved."""
    cell = measure_settlement(64, MANY_ROWS)
    print(f"\nsettle, n = 64, K = {MANY_ROWS:,}: {cell}")
    assert max(cell["calldata_bytes"].values()) < MAX_TRANSACTION_BYTES
    assert max(cell["gas"].values()) < MAX_TRANSACTION_GAS
    assert all(gas >= cell["floor_gas"][zone] for zone, gas in cell["gas"].items())


def test_a_real_node_takes_the_same_gas(anvil: Anvil) -> None:
    """But for zero bytes: other chain ids and clocks give other hashes and signatures."""
    of_its_own = measure_task(16, 1_000, anvil)["gas"]
    assert of_its_own == {name: pytest.approx(gas, abs=200) for name, gas in measure_task(16, 1_000)["gas"].items()}
