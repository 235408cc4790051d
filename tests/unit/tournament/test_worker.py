"""The process that plays one round (validator/tournament/worker.py)."""

import subprocess
import sys

from tests.unit.tournament.samples import a_round
from validator.tournament.worker import ROUND_FILE, RUN_DIRECTORY

LONG_TO_REMOVE = 50_000
"""Files, for which a removal takes long enough to be interrupted."""


def test_a_round_that_is_left_alone_while_it_removes_its_files_leaves_none(tmp_path):
    directory = tmp_path / "round"
    (directory / RUN_DIRECTORY).mkdir(parents=True)
    for number in range(LONG_TO_REMOVE):
        (directory / RUN_DIRECTORY / f"{number}").touch()
    (directory / ROUND_FILE).write_text(a_round("no-such-strategy").canonical)
    process = subprocess.Popen(
        [sys.executable, "-m", "validator.tournament.worker", directory],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stderr
    # It says so when it has ended, and removes then.
    assert "unknown strategy 'no-such-strategy'" in process.stderr.readline()
    process.stdin.close()
    process.wait(60)
    assert not (directory / RUN_DIRECTORY).exists()
