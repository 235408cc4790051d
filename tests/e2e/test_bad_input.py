"""Bad input gets one clear line and exit status 2, and nothing is lost."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.command import TOUCHSTONE, run_touchstone
from tests.support import require_or_skip
from tests.unit.journal.scenario import IDENTITY
from validator.base_model.grammar import MODEL_DIRECTORY
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key

SEED = 0
JOURNAL_KEY = derive_journal_key(SEED.to_bytes(32, "big"))
GOOD_ROW = json.dumps({"prompt": "What is the tallest of them?", "response": "It is the one that stands over there."})


def refusal_of(*arguments: str | Path) -> str:
    """The one line on stderr of a command that must be refused."""
    finished = run_touchstone("simulate", *arguments)
    assert finished.returncode == 2, finished.stdout + finished.stderr
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty"),
        (GOOD_ROW + "\n{not json\n", "line 2: not valid JSON"),
        (GOOD_ROW + '\n{"prompt": "only a question"}\n', "line 2: the row has no response"),
        (GOOD_ROW + '\n{"prompt": "x", "response": "  "}\n', "line 2: the row has no response"),
        (GOOD_ROW + '\n{"prompt": "x", "prompt": "y", "response": "z"}\n', "line 2: a key stands twice"),
        (GOOD_ROW + "\n", "1 rows are too few for 16 marks"),
    ],
)
def test_a_dataset_that_cannot_be_used(content: str, expected: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(content)
    assert expected in refusal_of("--data", data, "--directory", tmp_path / "run")


def test_one_word_answers_are_refused_with_the_reason(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"prompt": f"What is the number {i}?", "response": str(i)} for i in range(300)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "only 0 of 300 rows can be marked" in refusal_of("--data", data, "--directory", tmp_path / "run")


@pytest.mark.parametrize("name", ["jaquad", "xquad_en"])
def test_scripts_without_spaces_and_one_word_answers_of_real_data_are_refused_with_the_reason(
    name: str, tmp_path: Path
) -> None:
    folder = os.environ.get("TOUCHSTONE_DATA")
    if folder is None:
        require_or_skip("TOUCHSTONE_DATA is not set")
    data = Path(folder) / f"{name}.jsonl"
    line = refusal_of("--data", data, "--rows", "300", "--directory", tmp_path / "run")
    assert "a markable response has more than 4 words separated by spaces" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (["--miners", "saint=1"], "unknown strategy 'saint'"),
        (["--miners", "honest=-1"], "counts of 1 or more"),
        (["--miners", "honest"], "strategy=count"),
        (["--miners", "partial:1.5=1"], "partial:1.5"),
        (["--miners", "base=65"], "at most 64 miners"),
        (["--workers", "65"], "training processes is 1 to 64"),
        (["--port", "65536"], "ports is 0 to 65531"),
        (["--chain", "http://[::1"], "no valid host or port"),
        (["--probes", "64"], "300 rows are too few for 64 marks: at least 3200"),
        (["--rows", "-5"], "rows: Input should be greater than or equal to 1"),
        (["--rows", "100"], "too few"),
        (["--probes", "8"], "probes is 16 to 64"),
        (["--scheme", "watermark"], "unknown scheme 'watermark'"),
        (["--epochs", "0"], "epochs is 1 to 100"),
        (["--learning-rate", "0"], "nothing can be learnt"),
        (["--seed", "-1"], "seed"),
        (["--chain", "mainnet"], "unknown chain 'mainnet'"),
        (["--json", "/nowhere/at/all.json"], "cannot write /nowhere/at/all.json"),
        (["--base-model", "."], "is no model directory"),
    ],
)
def test_an_option_that_makes_no_sense(arguments: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in refusal_of(*arguments, "--directory", tmp_path / "run")


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_refused_command_leaves_nothing_behind(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    refusal_of("--scheme", "watermark", "--json", results, "--directory", tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_model_whose_weights_do_not_fit_its_configuration(tmp_path: Path) -> None:
    """Transformers would fill what is missing at random, differently in every process."""
    model = tmp_path / "model"
    shutil.copytree(MODEL_DIRECTORY, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": config["num_hidden_layers"] + 1}))
    assert "its weights lack" in refusal_of("--base-model", model, "--directory", tmp_path / "run")


def test_a_port_in_use(used_port: int, tmp_path: Path) -> None:
    line = refusal_of("--miners", "base=1", "--port", str(used_port), "--directory", tmp_path / "run")
    assert f"miner base-1: cannot listen on 127.0.0.1 port {used_port}: Address already in use" in line


def test_a_chain_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = refusal_of("--chain", f"http://127.0.0.1:{port}", "--directory", tmp_path / "run")
    assert f"http://127.0.0.1:{port}" in line


def test_the_directory_of_another_run_is_not_touched(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.sqlite", JOURNAL_KEY, IDENTITY).close()
    before = (tmp_path / "journal.sqlite").read_bytes()
    assert "holds another simulation's journal" in refusal_of("--miners", "base=1", "--directory", tmp_path)
    assert (tmp_path / "journal.sqlite").read_bytes() == before


def test_ctrl_c_ends_all_children_and_leaves_a_readable_journal(tmp_path: Path) -> None:
    command = [TOUCHSTONE, "simulate", "--miners", "honest=2", "--directory", tmp_path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("miners/*/jobs/*/events.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "training never began"
            time.sleep(0.2)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family, "training runs in child processes"
        os.killpg(process.pid, signal.SIGINT)
        _output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.decode().strip().splitlines() == [f"journal and logs: {tmp_path}", "interrupted"]
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    identity = Identity(*database.execute("SELECT chain_id, contract, validator FROM about").fetchone())
    database.close()
    journal = Journal(tmp_path / "journal.sqlite", JOURNAL_KEY, identity)
    states = journal.replay()
    journal.close()
    assert len(states) == 2
