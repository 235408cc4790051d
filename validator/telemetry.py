"""What an operator can see: structured logs, one JSON object per line, and Prometheus metrics."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from prometheus_client import Counter, Histogram

EVENTS = Counter("touchstone_events", "Events that changed a task.", ["kind"])
EFFECT_SECONDS = Histogram(
    "touchstone_effect_seconds",
    "Time to carry an effect out, retries included.",
    ["kind"],
    buckets=(0.05, 0.25, 1, 5, 15, 60, 300, 1800),
)
EFFECTS_GIVEN_UP = Counter("touchstone_effects_given_up", "Effects left to the task's deadlines.", ["kind"])
MINER_FAULTS = Counter("touchstone_miner_faults", "Times that a miner broke the protocol over HTTP.")


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
