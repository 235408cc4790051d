"""docs/ten-minutes.md: the quickstart, typed into a copy of the repository by whoever has python3, make and a shell.

`python -m tests.docs.transcript` types it, which takes some minutes and a network, and writes the page. The times are
of the machine; how long a person reads is estimated from the words.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import describe_machine
from tests.docs.pages import ROOT, Command, section
from tests.docs.terminal import Terminal

PAGE = ROOT / "docs" / "ten-minutes.md"
PROGRAMS = (
    "python3",
    "make",
    "bash",
    "sh",
    "awk",
    "cat",
    "chmod",
    "cp",
    "grep",
    "head",
    "ls",
    "mkdir",
    "rm",
    "test",
    "touch",
    "tr",
    "uname",
)
"""All that there is on the PATH."""
NOTICED_S = 0.5
WORDS_PER_MINUTE, CHARACTERS_PER_MINUTE = 200, 150
READ = ("README.md", "docs/quickstart.md")
BLOCKING = {"touchstone devnet run": "http://", "touchstone validator run": '"ready"'}
"""What does not end by itself, and what it says once it is up."""
ACTIVATION = ". .venv/bin/activate"
PATIENCE_S = 300.0
INTRODUCTION = """\
# Ten minutes, as typed

The [quickstart](quickstart.md), typed line by line into shells in a copy of the repository at `~/touchstone`. On their
PATH were {programs}, and nothing else. `python -m tests.docs.transcript` wrote this page on {machine}, beside other
work; PyTorch's build for CPUs lay in a folder of wheels, all else came from the package index.

| | |
|---|---|
| the machine, altogether | {machine_time} |
| of which `make demo` the first time, downloads included | {demo_time} |
| a person, **estimated**: {words} words, {characters} characters | {person_time} |

A person reads {reading} words and types {typing} characters a minute; the words are those of the README and of the
quickstart, as far as here.
"""


@dataclass(frozen=True)
class Step:
    """What was typed in which terminal, what came, and after how many seconds."""

    terminal: int
    typed: str
    said: str
    took_s: float


def type_all(home: Path) -> Iterator[Step]:
    """The quickstart in terminals of its own; another begins where the page activates the environment again."""
    checkout = home / "touchstone"
    path = only_these_programs(home / "programs")
    lines, is_active = [command.text for command in first_hour()], False
    with ExitStack() as stack:
        number, terminal = 1, stack.enter_context(Terminal(checkout, home, path=path))
        for line in lines:
            if line == ACTIVATION and is_active:
                number, terminal = number + 1, stack.enter_context(Terminal(checkout, home, path=path))
            is_active = is_active or line == ACTIVATION
            began_s = time.monotonic()
            if line in BLOCKING:
                said = stack.enter_context(running(terminal, line, checkout / f"terminal-{number}.log"))
            else:
                said = terminal.type(line) if line != "cd touchstone" else ""
            step = Step(number, terminal.as_meant(line), said, time.monotonic() - began_s)
            if "validator init" in line:
                terminal.meant["0xADDRESS"] = re.findall("0x[0-9a-fA-F]{40}", said)[0]
            yield step


def first_hour() -> list[Command]:
    return section("docs/quickstart.md", "A finished round") + section("docs/quickstart.md", "A validator of your own")


def only_these_programs(folder: Path) -> str:
    folder.mkdir()
    for program in PROGRAMS:
        found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin")
        assert found is not None, program
        (folder / program).symlink_to(found)
    return str(folder)


@contextmanager
def running(terminal: Terminal, line: str, log: Path) -> Iterator[str]:
    """What it says until it is up."""
    log.touch()
    process = terminal.start(line, log=str(log))
    deadline = time.monotonic() + PATIENCE_S
    try:
        while BLOCKING[line] not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


def copy_repository(into: Path) -> None:
    """What a clone would hold, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, into / name)


def render(steps: list[Step], home: Path) -> str:
    words = sum(
        len((ROOT / name).read_text().split("<!-- figures")[0].split("## Simulate")[0].split()) for name in READ
    )
    characters = sum(len(step.typed) for step in steps)
    machine_s = sum(step.took_s for step in steps)
    demo_s = sum(step.took_s for step in steps if step.typed == "make demo")
    person_s = 60 * (words / WORDS_PER_MINUTE + characters / CHARACTERS_PER_MINUTE)
    intro = INTRODUCTION.format(
        programs=", ".join(PROGRAMS),
        machine=describe_machine_briefly(),
        machine_time=describe(machine_s),
        demo_time=describe(demo_s),
        words=words,
        reading=WORDS_PER_MINUTE,
        typing=CHARACTERS_PER_MINUTE,
        characters=characters,
        person_time=describe(person_s),
    )
    parts = [intro.rstrip()]
    terminal = 0
    for step in steps:
        if step.terminal != terminal:
            terminal = step.terminal
            parts.append(f"## Terminal {terminal}")
        said = "\n".join(line.rstrip() for line in step.said.strip("\n").splitlines())
        output = f"$ {step.typed}\n{said}".strip().replace(str(home), "~")
        parts.append(f"```console\n{output}\n```")
        if step.took_s >= NOTICED_S:
            parts.append(describe(step.took_s))
    return "\n\n".join(parts) + "\n"


def describe_machine_briefly() -> str:
    found = describe_machine()
    processor = found["processor"].split(" @ ")[0].strip()
    return f"{found['cores']} cores ({processor}), {found['memory_gib']} GiB, Python {found['python']}"


def describe(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        copy_repository(home / "touchstone")
        steps = []
        for step in type_all(home):
            print(f"{step.took_s:7.1f} s  {step.typed}", flush=True)
            steps.append(step)
        PAGE.write_text(render(steps, home))


if __name__ == "__main__":
    main()
