"""The search for sentinel secrets finds them in every spelling and every kind of file."""

import json
import os
import sqlite3
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest

from tests import sentinels
from tests.factories import digest

SECRET = digest("a secret that only this test's own files hold")
SECRETS = {"the secret": SECRET, "the password": 'correct "hörse" battery'.encode()}


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        b"0x" + SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        b64encode(SECRET),
        urlsafe_b64encode(b"x" + SECRET + b"y"),
        b64encode(b"xy" + SECRET),
        repr(SECRET).encode(),
        str(int.from_bytes(SECRET)).encode(),
        json.dumps({"list": [SECRET.hex()]}).encode(),
    ],
)
def test_a_secret_is_found_in_every_spelling(content: bytes):
    assert sentinels.find_in_bytes(b"\x00 before " + content + b" behind", SECRETS) == ["the secret"]


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_a_text_is_found_with_its_escapes(ensure_ascii: bool):
    content = json.dumps({"key": SECRETS["the password"].decode()}, ensure_ascii=ensure_ascii).encode()
    assert sentinels.find_in_bytes(content, SECRETS) == ["the password"]


def test_files_of_every_kind_are_searched_in_every_folder(tmp_path: Path):
    (tmp_path / "empty").touch()
    (tmp_path / "clean.log").write_text("nothing")
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    connection = sqlite3.connect(tmp_path / "deep" / "journal.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE kept (body BLOB)")
    connection.execute("INSERT INTO kept VALUES (?)", (SECRET,))
    connection.commit()
    (tmp_path / "deep" / "deeper" / "core.17").write_bytes(bytes(1 << 20) + SECRET)
    found = sentinels.find_in_files(tmp_path, SECRETS)
    connection.close()
    names = {"core.17", "journal.sqlite-wal"}
    assert {Path(line.partition(": ")[2]).name for line in found} == names
    assert sentinels.find_in_files(tmp_path, SECRETS, ignored=[tmp_path / "deep"]) == []


@pytest.mark.parametrize("pattern", [bytes(32), b"\x05" * 32, bytes(31) + b"\x07", b"short"])
def test_what_cannot_be_told_from_other_bytes_is_no_sentinel(pattern: bytes):
    with pytest.raises(ValueError, match="too few different bytes"):
        sentinels.register("pattern", pattern)


LEAKING = """
from tests import sentinels

def test_leaks(tmp_path):
    sentinels.register("a password", "correct horse battery")
    (tmp_path / "log.txt").write_text("the password is {}")
"""


@pytest.mark.parametrize(("said", "fails"), [("correct horse battery", True), ("unknown", False)])
def test_a_session_that_leaves_a_registered_secret_behind_fails(tmp_path: Path, said: str, fails: bool):
    """That the whole suite is searched at its end cannot pass by not looking."""
    (tmp_path / "test_leaks.py").write_text(LEAKING.format(said))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "base"), str(tmp_path / "test_leaks.py")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    session = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "1 passed" in session.stdout, session.stdout + session.stderr
    assert (session.returncode != 0) is fails
    assert (f"a password: {tmp_path}" in session.stdout) is fails
