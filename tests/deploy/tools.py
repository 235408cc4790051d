"""The programs that check deploy/: those that `make checkers` fetches, or the machine's own."""

import shutil
import subprocess
from pathlib import Path

from tests.support import require_or_skip

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FETCHED = ROOT / ".cache" / "deploy"
FOLDERS = (FETCHED / "python" / "bin", FETCHED / "node_modules" / ".bin", FETCHED / "prometheus" / "usr" / "bin")


def find(name: str) -> str:
    """Its path; the test is skipped where there is none."""
    found = next(filter(None, (shutil.which(name, path=folder) for folder in (*FOLDERS, None))), None)
    return found or require_or_skip(f"no {name}: `make checkers` fetches it, or it is a package of the system's")


def complaints(name: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """What the program says if it fails, nothing if it is content."""
    finished = subprocess.run(
        [find(name), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=60, check=False
    )
    said = finished.stdout + finished.stderr
    assert finished.returncode == 0 or said.strip(), f"{name} failed without a word"
    return "" if finished.returncode == 0 else said


def broken(path: Path, old: str, new: str, into: Path) -> Path:
    """A copy of the file with one thing changed, under the same name."""
    text = path.read_text()
    assert old in text, f"{path} has no {old!r} to break"
    copy = into / path.name
    copy.write_text(text.replace(old, new, 1))
    return copy
