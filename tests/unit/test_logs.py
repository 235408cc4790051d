"""Logs: nothing secret by type (H5), no URL beyond its host, no text without end (D3); and nobody waits for them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.factories import CHAIN_ID, CONTRACT, TASK_ID, digest, make_rows
from tests.sentinels import register
from tests.unit.evidence.settled import planted_with, settled_task
from validator.edges.keys import SecretBytes, derive_signer
from validator.logs import MAX_TEXT_CHARS, QUEUED_LINES, hide_secrets_in_urls, log_to, log_to_file
from validator.marks.schemes import Canary
from validator.marks.secrets import Secrets
from validator.protocol.state import Phase
from validator.telemetry import LOG_LINES_DROPPED
from validator.types import Wei

log = structlog.get_logger("tests")
SECRET = digest("a secret of the log tests")
register("secret of the log tests", SECRET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (SECRET, "<32 bytes>"),
        (bytearray(SECRET), "<32 bytes>"),
        (SecretBytes(SECRET), "<SecretBytes>"),
        (Secrets(SECRET, CHAIN_ID, CONTRACT), "<Secrets>"),
        (derive_signer(SECRET, "validator"), "<LocalSigner>"),
        (planted_with(Canary()), "<PlantedDataset>"),
        (planted_with(Canary()).marks[0], "<Mark>"),
        (settled_task(), "<TaskState>"),
        (make_rows(1), ["<Row>"]),
        (ValueError("a secret text"), "<ValueError>"),
        (int.from_bytes(SECRET), "<int>"),
        ({"key": SECRET, "deeper": [SecretBytes(SECRET)]}, {"key": "<32 bytes>", "deeper": ["<SecretBytes>"]}),
        ([[[[[1]]]]], [[[["<list>"]]]]),
        ("0x" + TASK_ID.hex(), "0x" + TASK_ID.hex()),
        (Wei(10**24), 10**24),
        (Phase.SUBMITTED, "submitted"),
        (Path("/somewhere"), "/somewhere"),
        (None, None),
        (True, True),
        (0.5, 0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_not_printed(path: Path, value: object, written: object):
    """H5."""
    with log_to_file(path):
        log.info("something", value=value)
    assert lines(path)[0]["value"] == written


def test_texts_of_strangers_and_customers_are_cut(path: Path):
    """D3."""
    with log_to_file(path):
        log.warning("the miner says", reason="x" * 100_000)
    assert len(str(lines(path)[0]["reason"])) == MAX_TEXT_CHARS


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://mainnet.example/v3/0123456789abcdef", "https://mainnet.example"),
        ("wss://user:hunter2@node.example:8546/ws?key=1", "wss://node.example:8546"),
        ("postgresql://touchstone:hunter2@db/journal", "postgresql://db"),
        ("postgresql+pg8000://u:p@ss@db:5432/journal", "postgresql+pg8000://db:5432"),
        ("http://[::1]:8545/key", "http://[::1]:8545"),
        ("cannot reach 'https://a.example/key': timeout", "cannot reach 'https://a.example': timeout"),
        ("<https://a.example/key>, https://b.example?key=1", "<https://a.example>, https://b.example"),
        ("no url: 0x12//34", "no url: 0x12//34"),
    ],
)
def test_urls_end_at_the_host(text: str, left: str):
    assert hide_secrets_in_urls(text) == left


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variable_and_no_url(path: Path, form):
    """H5: `rich`, which is installed, would print them."""

    def fail(kept: str) -> None:
        local = kept.upper()
        raise OSError("no answer from https://node.example/key" + "y" * 10_000 * len(local))

    with log_to_file(path, form=form):
        try:
            fail("hunter")
        except OSError:
            log.exception("it failed")
    text = path.read_text()
    assert "in fail" in text, "where it happened is told"
    assert "OSError: no answer from https://node.example" in text
    assert "HUNTER" not in text
    assert "node.example/key" not in text
    assert len(text) < 5_000


def test_libraries_speak_from_a_warning_on_and_through_the_same_processors(path: Path):
    with log_to_file(path, level="debug"):
        logging.getLogger("web3").info("Making request to %s", "https://node.example/key")
        logging.getLogger("aiohttp").warning("cannot reach %s", "https://node.example/key")
        libraries = logging.getLogger().handlers[-1]
        libraries.handle(logging.makeLogRecord({"name": "odd", "levelno": 33, "msg": "%d", "args": ("no number",)}))
        log.debug("ours")
    logged = [(line.get("logger"), line["level"], line["event"]) for line in lines(path)]
    assert logged == [
        ("aiohttp", "warning", "cannot reach https://node.example"),
        ("odd", "warning", "%d"),
        (None, "debug", "ours"),
    ]


def test_the_level_is_the_least_that_is_written(path: Path):
    with log_to_file(path, level="warning"):
        log.info("no")
        log.warning("yes")
    assert [line["event"] for line in lines(path)] == ["yes"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def dropped() -> float:
    return LOG_LINES_DROPPED._value.get()


def test_a_pipe_that_nobody_reads_drops_lines_and_holds_nobody_up(pipe: tuple[int, int]):
    """Complaint 20, O9: the task loop goes on; what is lost is counted, and what was taken is whole."""
    reading, writing = pipe
    before, count = dropped(), 3 * QUEUED_LINES
    with log_to(writing):
        for number in range(count):
            log.info("line", number=number, filling="x" * 400)
        lost = dropped() - before
        assert 0 < lost < count
        os.set_blocking(reading, False)
        text = b""
        while text.count(b"\n") < count - lost:  # ends, since the writer goes on as soon as there is room
            try:
                text += os.read(reading, 1 << 20)
            except BlockingIOError:
                os.sched_yield()
    numbers = [json.loads(line)["number"] for line in text.splitlines()]
    assert len(numbers) == count - lost
    assert numbers == sorted(set(numbers))


def test_a_full_disk_drops_lines_and_stops_nobody():
    """O9, K1."""
    full = os.open("/dev/full", os.O_WRONLY)
    before = dropped()
    try:
        with log_to(full):
            log.info("a line")
    finally:
        os.close(full)
    assert dropped() == before + 1


def test_a_closed_pipe_drops_lines_and_a_process_with_a_stuck_one_still_ends():
    """Complaint 20."""
    program = (
        "import os, structlog\n"
        "from validator.logs import log_to\n"
        "from validator.telemetry import LOG_LINES_DROPPED\n"
        "reading, writing = os.pipe()\n"
        "with log_to(writing):\n"
        "    for _ in range(2_000): structlog.get_logger().info('x' * 400)\n"
        "closed, gone = os.pipe()\n"
        "os.close(closed)\n"
        "with log_to(gone):\n"
        "    structlog.get_logger().info('nobody')\n"
        "print(LOG_LINES_DROPPED._value.get() >= 1)\n"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "True\n", "")
