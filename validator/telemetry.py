"""What an operator can see: structured logs, one JSON object per line, and Prometheus metrics."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("touchstone_events", "Events that changed a task.", ["kind"])
EFFECT_SECONDS = Histogram(
    "touchstone_effect_seconds",
    "Time to carry an effect out, retries included.",
    ["kind"],
    buckets=(0.05, 0.25, 1, 5, 15, 60, 300, 1800),
)
EFFECTS_GIVEN_UP = Counter("touchstone_effects_given_up", "Effects left to the task's deadlines.", ["kind"])
MINER_FAULTS = Counter("touchstone_miner_faults", "Times that a miner broke the protocol over HTTP.")

TRANSACTIONS_IN_FLIGHT = Gauge("touchstone_transactions_in_flight", "Nonces sent and not yet final.")
OLDEST_TRANSACTION_SECONDS = Gauge("touchstone_oldest_transaction_seconds", "Age of the oldest nonce in flight.")
TRANSACTION_ATTEMPTS = Counter("touchstone_transaction_attempts", "Transactions signed.")
TRANSACTION_ANSWERS = Counter("touchstone_transaction_answers", "What nodes said to signed transactions.", ["answer"])
TRANSACTIONS_REPLACED = Counter("touchstone_transactions_replaced", "Transactions sent again at a higher fee.")
TRANSACTIONS_CAPPED = Counter("touchstone_transactions_capped", "Transactions whose fee has reached its cap: act.")
TRANSACTIONS_REORGED = Counter("touchstone_transactions_reorged", "Transactions that a reorganisation took away.")
GAS_SPENT_WEI = Counter("touchstone_gas_spent_wei", "Paid for gas by final transactions, failed ones included.")


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send every log line of this process to `path` while the context lasts."""
    with path.open("a", buffering=1) as file:
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        try:
            yield
        finally:
            structlog.reset_defaults()
