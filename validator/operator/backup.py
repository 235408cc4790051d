"""`touchstone validator backup`: what a validator needs to go on elsewhere, copied while it runs.

Rule kept: a restored backup is an old one, and the chain is ahead of it: the README that goes with it says how to
restore, and what the daemon then does (P8). Neither the password nor the weights of models are copied.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from validator.customer.daemon import SOCKET
from validator.errors import BadInput
from validator.files import write_whole
from validator.journal.backup import copy_journal
from validator.settings import Settings
from validator.settings_file import load_settings
from validator.terminal import make_console

STATE, KEYS = "state", "keys"
SUMS = "SHA256SUMS"
LEFT_OUT = (SOCKET, "reserve", "models")
"""Of the state directory, beside the journal: what is made anew, or can be fetched by its customer."""

README = """\
A backup of a Touchstone validator.

What is in it is secret: keys/master_seed opens every journal and dataset, and with the keystore's password, which is
not in here, the keystore spends money. Keep it encrypted, and away from the password.

To restore:
1. Make sure that the old validator is stopped for good. Two that use one key stop each other, and may lose bonds.
2. Check the copy: sha256sum -c SHA256SUMS
3. Put state/ where the configuration's state.directory points (mode 0700), the keystore and the master seed where keys
   points, and the password file back. {journal}
4. touchstone validator check, then touchstone validator run.

The chain is ahead of a backup, and it wins: at its start the daemon reads what happened since from the contract's
events, never uses a nonce again that the chain has seen, and never acts on what the chain shows as done. Answers of
miners that came after the backup are gone: such a task is challenged on chain in place of its transcript.
Datasets that were deleted since are in here: delete the backup too, when they are due.
"""


def run_backup(*, config: Path, directory: Path) -> None:
    """Copy into a new directory, whole or not at all; BadInput with what is in the way."""
    settings, console = load_settings(config), make_console()
    if directory.exists():
        raise BadInput(f"{directory} is there already: name a new directory")
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    os.umask(0o077)
    try:
        with ExitStack() as on_failure:
            on_failure.callback(shutil.rmtree, unfinished, ignore_errors=True)
            shutil.rmtree(unfinished, ignore_errors=True)
            (unfinished / STATE).mkdir(parents=True)
            (unfinished / KEYS).mkdir()
            hint = _copy_journal(settings, unfinished)
            _copy_state(settings.state.directory, unfinished / STATE, settings.state.journal_place)
            _copy(config, unfinished / "touchstone.toml")
            _copy_keys(settings, unfinished / KEYS)
            write_whole(unfinished / "README", README.format(journal=hint), mode=0o600)
            _write_sums(unfinished)
            unfinished.rename(directory)
    except OSError as error:
        raise BadInput(f"cannot copy {error.filename or directory}: {error.strerror}") from error
    files = sum(1 for _ in _files(directory))
    console.print(f"{files} files in {directory}; {SUMS} has their hashes, README says how to restore")
    console.print("the master seed is among them, the password is not: keep them apart, and this copy encrypted")
    if hint:
        console.print(hint)


def _copy_journal(settings: Settings, directory: Path) -> str:
    """Copy a journal in a file; for one on a server, what is to be done instead."""
    place = settings.state.journal_place
    if isinstance(place, Path):
        copy_journal(place, directory / STATE / "journal.sqlite")
        return ""
    return "The journal is on a PostgreSQL server and not in this copy: pg_dump it now, in the same minute."


def _copy_state(state: Path, target: Path, journal: Path | str) -> None:
    """Everything but the journal with its companions and what is left out; files that go meanwhile were due."""
    companions = f"{journal.with_suffix('')}." if isinstance(journal, Path) else None
    for path in _files(state):
        relative = path.relative_to(state)
        is_journals = companions is not None and str(path).startswith(companions)
        if relative.parts[0] in LEFT_OUT or is_journals or path.name.startswith("."):
            continue
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(path, target / relative)
        except FileNotFoundError:
            continue


def _copy_keys(settings: Settings, target: Path) -> None:
    keys = settings.keys
    _copy(keys.master_seed_file, target / "master_seed")
    for path in (keys.keystore, keys.key_file):
        if path is not None and path.is_dir():
            for file in _files(path):
                _copy(file, target / file.name)
        elif path is not None:
            _copy(path, target / path.name)


def _copy(source: Path, target: Path) -> None:
    with (
        source.open("rb") as file,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy,
    ):
        shutil.copyfileobj(file, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _write_sums(directory: Path) -> None:
    """As `sha256sum -c` reads them."""
    lines = []
    for path in _files(directory):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(directory)}\n")
    write_whole(directory / SUMS, "".join(lines), mode=0o600)


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink())
