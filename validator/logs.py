"""Structured logs without secrets, which nobody ever waits for.

Rules kept: what is not a plain value is not printed, whatever it is called (H5: keys, marks and rows are types of their
own, bytes are bytes), addresses on the network end at the host, and text is cut, since a stranger may have written it
(D3). Lines are written by a thread of their own from a bounded queue: a full disk or a pipe that nobody reads drops
lines, and the drops are counted (complaint 20, O9).
"""

import logging
import os
import queue
import re
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from validator.telemetry import LOG_LINES_DROPPED

LogFormat: TypeAlias = Literal["json", "console"]

MAX_TEXT_CHARS = 500
MAX_TRACEBACK_CHARS = 8_000
MAX_NUMBER_BITS = 128
"""Amounts fit; a private key that became an integer does not."""
MAX_DEPTH = 4
QUEUED_LINES = 2_048
CLOSING_S = 1.0
"""For what is still queued when the log is closed."""

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_URL = re.compile(
    r"""\b([a-z][a-z0-9+.-]*://)        # scheme
        (?:[^\s/?\#"'<>]*@)?            # user and password
        (\[[0-9a-f:.]+\](?::\d+)?|[^\s/?\#@"'<>()\[\],]+)
        [^\s"'<>()\[\]]*                # path and query: where providers put their keys
    """,
    re.VERBOSE | re.IGNORECASE,
)


@contextmanager
def log_to_file(path: Path, *, level: str = "info", form: LogFormat = "json") -> Iterator[None]:
    """Append every log line of this process to `path` while the context lasts."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with log_to(descriptor, level=level, form=form):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def log_to(descriptor: int, *, level: str = "info", form: LogFormat = "json") -> Iterator[None]:
    """Write every log line of this process to an open file, pipe or terminal while the context lasts.

    `level` is the least that is written of our own; of libraries it is never less than a warning.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    writer = LineWriter(descriptor)
    structlog.configure(
        processors=_processors(form, is_terminal=os.isatty(descriptor)),
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_names: writer,
    )
    libraries = _Libraries(max(least, logging.WARNING))
    logging.getLogger().addHandler(libraries)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(libraries)
        structlog.reset_defaults()
        writer.close()


class LineWriter:
    """Writes lines from a thread of its own; a line that finds the queue full or cannot be written is dropped."""

    def __init__(self, descriptor: int, queued_lines: int = QUEUED_LINES) -> None:
        self._descriptor = os.dup(descriptor)  # It may be closed while a write to it has not returned.
        self._queue: queue.Queue[bytes | None] = queue.Queue(queued_lines)
        # A daemon, and no buffered file object: a write that never returns must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, message: str) -> None:
        try:
            self._queue.put_nowait(message.encode("utf-8", "backslashreplace") + b"\n")
        except queue.Full:
            LOG_LINES_DROPPED.inc()

    debug = info = warning = error = critical = msg

    def close(self) -> None:
        """Write what is queued, for at most CLOSING_S."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=CLOSING_S)
            self._thread.join(CLOSING_S)
        if not self._thread.is_alive():
            os.close(self._descriptor)

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                LOG_LINES_DROPPED.inc()


class _Libraries(logging.Handler):
    """What libraries log, on the same way as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        level = max((each for each in _LEVELS if each <= record.levelno), default=logging.DEBUG)
        structlog.get_logger().log(level, message, logger=record.name, exc_info=record.exc_info)


def _processors(form: LogFormat, *, is_terminal: bool) -> list[Processor]:
    renderer: Processor = structlog.processors.JSONRenderer()
    if form == "console":
        # Not the default for exceptions, which prints the values of local variables where `rich` is installed.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=plain)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_format_exception),
        redact,
        renderer,
    ]


def _format_exception(exc_info: ExcInfo) -> str:
    """Without the values of local variables; of each line as much as of any other text."""
    lines = "".join(traceback.format_exception(*exc_info)).splitlines()
    return "\n".join(line[:MAX_TEXT_CHARS] for line in lines)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every value as plain data, or its type in its place."""
    limits = {"exception": MAX_TRACEBACK_CHARS}
    return {key: _plain(value, limits.get(key, MAX_TEXT_CHARS)) for key, value in event.items()}


def _plain(value: Any, max_chars: int, depth: int = 0) -> Any:
    match value:
        case None | bool() | float():
            return value
        case int() if value.bit_length() <= MAX_NUMBER_BITS:
            return value
        case str() | Path():
            return hide_secrets_in_urls(str(value))[:max_chars]
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() if depth < MAX_DEPTH:
            return {str(key)[:max_chars]: _plain(each, max_chars, depth + 1) for key, each in value.items()}
        case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
            return [_plain(each, max_chars, depth + 1) for each in value]
    return f"<{type(value).__name__}>"


def hide_secrets_in_urls(text: str) -> str:
    """Every URL in it cut to scheme, host and port."""
    return _URL.sub(r"\1\2", text)
