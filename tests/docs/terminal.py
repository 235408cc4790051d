"""A terminal that somebody types in: one shell, line after line, with what each line says and its exit status."""

import os
import pty
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

END = "the line has ended with"


@dataclass
class Terminal:
    """A context manager around a shell in `directory`, whose home is `home` and which finds programs in `path`.

    What a reader fills in or has otherwise stands in `meant`: text of the page, and what is typed in its place.
    """

    directory: Path
    home: Path
    meant: dict[str, str] = field(default_factory=dict)
    path: str = os.environ["PATH"]

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOUCHSTONE_", "RPC_URL"))}
        # Prompts ask only where there is a terminal to answer at.
        self._keyboard, theirs = pty.openpty()
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.directory,
            env=kept | {"HOME": str(self.home), "PATH": self.path},
            pass_fds=[theirs],
        )
        self._theirs = theirs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._keyboard)
        os.close(self._theirs)

    def type(self, line: str, *, statuses: tuple[int, ...] = (0,), answer: str = "") -> str:
        """What the line prints; `answer` is typed where it asks."""
        os.write(self._keyboard, answer.encode())
        typed = self.as_meant(line)
        *said, end = self._send(f"{{ {typed}\n}} <&{self._theirs}")
        assert int(end) in statuses, f"{typed} ended with {end}:\n{''.join(said)}"
        return "".join(said)

    def start(self, line: str, log: str = "running.log") -> int:
        """Begin what runs until it is stopped; its process id. What it says goes to a file of the directory."""
        return int(self._send(f"{self.as_meant(line)} > {log} 2>&1 < /dev/null & echo $!")[0])

    def as_meant(self, line: str) -> str:
        for there, here in self.meant.items():
            line = line.replace(there, here)
        return line

    def _send(self, text: str) -> list[str]:
        assert self._shell.stdin is not None and self._shell.stdout is not None  # noqa: PT018
        self._shell.stdin.write(f"{text}\necho; echo {shlex.quote(END)} $?\n")
        self._shell.stdin.flush()
        said: list[str] = []
        for line in self._shell.stdout:
            if line.startswith(END):
                return [*said, line.removeprefix(END).strip()]
            said.append(line)
        raise AssertionError(f"the shell has ended after {text}: {said}")
