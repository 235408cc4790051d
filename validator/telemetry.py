"""Structured logs: one JSON object per line, in a file of the run's own."""

from pathlib import Path

import structlog


def log_to_file(path: Path) -> None:
    """Send every log line of this process to `path`."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(path.open("a", buffering=1)),
    )
