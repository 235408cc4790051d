"""What the commands share towards people: Ctrl-C, consoles, JSON for machines, dates, consent."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from validator.errors import BadInput

STANDARD_OUTPUT = Path("-")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends with status 130 and one word."""
    try:
        yield
    except KeyboardInterrupt:
        # Typer would answer with a bare exit status.
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def needing_packages(command: str, extra: str) -> Iterator[None]:
    """A package that is not installed is one clear line, with the extra that has it."""
    try:
        yield
    except ModuleNotFoundError as error:
        install = f"pip install 'touchstone-validator[{extra}]'"
        raise BadInput(f"{command} needs a package that is not installed ({error.name}): {install}") from error


def make_console() -> Console:
    """Addresses, hashes and paths are for copying: never wrapped, coloured or read as markup."""
    return Console(soft_wrap=True, highlight=False, markup=False)


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    for name, value in rows:
        console.print(f"  {name:<16}{value}")


def write_json(place: Path, value: Any) -> None:
    """To a file, or to standard output for `-`."""
    from validator.files import write_whole  # Slow to import, and every command imports this module.

    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if place == STANDARD_OUTPUT:
        sys.stdout.write(text)
    else:
        write_whole(place, text)


def describe_time(unix_s: float | None) -> str:
    """A date in UTC, to the second."""
    return "-" if unix_s is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))


def require_consent(question: str, *, is_given: bool) -> None:
    """Ask a person; BadInput without one to ask, or without consent."""
    if is_given:
        return
    if not sys.stdin.isatty():
        raise BadInput("nobody is there to be asked: say --yes to agree to what is shown above")
    if not typer.confirm(question):
        raise BadInput("nothing was signed or sent")
