"""A file is there whole or not at all."""

from pathlib import Path

import pytest

from validator.errors import BadInput
from validator.files import check_writable, create_whole, write_whole


def test_a_file_is_replaced_whole_and_with_its_mode(tmp_path: Path):
    path = tmp_path / "book.json"
    write_whole(path, "first", mode=0o600)
    write_whole(path, "second", mode=0o600)
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_crash_left_unfinished_is_written_over(tmp_path: Path):
    """K7."""
    path = tmp_path / "book.json"
    write_whole(path, "old")
    (tmp_path / ".book.json.unfinished").write_text("half of something much longer than what comes now")
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("place", ["missing/file.json", "."])
def test_a_place_that_cannot_be_written_is_found_before_and_while_writing(tmp_path: Path, place: str):
    with pytest.raises(BadInput, match="cannot write"):
        check_writable(tmp_path / place)
    with pytest.raises(BadInput, match="cannot write"):
        write_whole(tmp_path / place, "text")


def test_a_place_that_can_be_written_passes(tmp_path: Path):
    check_writable(tmp_path / "new.json")
    (tmp_path / "old.json").write_text("")
    check_writable(tmp_path / "old.json")


def test_a_file_that_is_there_is_not_created_again_and_a_new_one_is_private(tmp_path: Path):
    path = tmp_path / "secret.json"
    create_whole(path, "first")
    with pytest.raises(BadInput, match="never overwritten"):
        create_whole(path, "second")
    assert path.read_text() == "first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
