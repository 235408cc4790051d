"""Where state may be kept (K5)."""

import os
from pathlib import Path

import pytest

from validator.errors import BadInput
from validator.operator import directory as module
from validator.operator.directory import PASSING_FILE_SYSTEMS, check_directory, file_system


def looked_at(path: Path, *, is_passing_allowed: bool = True) -> str:
    return check_directory(path, is_passing_allowed=is_passing_allowed)


def test_a_private_directory_with_space_will_do(tmp_path: Path):
    tmp_path.chmod(0o700)
    assert "GiB free on" in looked_at(tmp_path)
    assert looked_at(tmp_path / "not" / "there").endswith("to be created")
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path, mode: int):
    tmp_path.chmod(mode)
    with pytest.raises(BadInput, match="is open to other users: chmod 700 it"):
        looked_at(tmp_path)


def test_a_directory_of_another_user_is_refused(tmp_path: Path):
    foreign = Path("/")
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 12_345, -1)
    with pytest.raises(BadInput, match="belongs to another user: run as its owner, or chown it"):
        looked_at(foreign)


def test_a_file_is_no_directory(tmp_path: Path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(BadInput, match="file is not a directory"):
            looked_at(path)


def test_a_disk_without_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """K1."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(BadInput, match=r"has [0-9]+ MiB left, and needs 1099511627776: free some"):
        looked_at(tmp_path)


def test_the_kind_of_a_file_system_is_that_of_its_nearest_mount(tmp_path: Path):
    assert file_system(Path("/proc/self")) == "proc"
    (tmp_path / "link").symlink_to("/proc/self")
    assert file_system(tmp_path / "link") == "proc"


@pytest.mark.skipif(file_system(Path("/dev/shm")) not in PASSING_FILE_SYSTEMS, reason="/dev/shm is no tmpfs here")  # noqa: S108
def test_what_ends_with_the_machine_is_for_development_alone(tmp_path: Path):
    place = Path("/dev/shm") / f"{tmp_path.parent.name}-{tmp_path.name}" / "not there"  # noqa: S108
    assert "free on tmpfs" in looked_at(place)
    with pytest.raises(BadInput, match="ends with the machine or container: take a disk or a volume"):
        looked_at(place, is_passing_allowed=False)


def test_a_file_system_of_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No such file system can be mounted in a test: the local one is put on the list."""
    monkeypatch.setattr(module, "REMOTE_FILE_SYSTEMS", {file_system(tmp_path)})
    with pytest.raises(BadInput, match="a file system of another machine: take a local disk"):
        looked_at(tmp_path / "state")
