"""Commands of the operator's: run without a shell, in a process group of their own that never outlives its purpose.

Rules kept: nothing of this process but what is named here gets into a command's environment, keys and credentials least
of all; its output goes to a file; whatever ends the wait (a time limit, the end of the miner) ends the whole group; and
what a miner that was killed has left running is ended before the command is run again.
"""

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from validator.errors import TouchstoneError
from validator.files import write_whole

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""Of this process' environment."""
GRACE_SECONDS = 10.0
"""From SIGTERM to SIGKILL."""
LAST_LINE_BYTES = 4096
RUNNING_FILE = "running.json"
"""In the command's directory: which process it is, while it runs."""


class HookFailed(TouchstoneError):
    """The command could not be run, failed, or took too long."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A command with its placeholders filled in; `directory` is where it runs."""

    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]

    @property
    def log(self) -> Path:
        """What it has written to its standard output and error, of all runs."""
        return self.directory / f"{self.name}.log"

    async def run(self, limit_s: float) -> None:
        """Run it to its end with status 0; HookFailed otherwise, with its last line."""
        running = self.directory / RUNNING_FILE
        await asyncio.to_thread(end_left_over, self.directory)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        with self.log.open("ab") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self.command,
                    cwd=self.directory,
                    env=kept | dict(self.environment),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise HookFailed(f"the {self.name} command {self.command[0]} cannot be run: {error.strerror}") from None
        try:
            write_whole(running, json.dumps({"pid": process.pid, "started": _start_time(process.pid)}))
            async with asyncio.timeout(limit_s):
                status = await process.wait()
        except TimeoutError:
            raise HookFailed(f"the {self.name} command was ended after {limit_s:.0f} s: no time is left") from None
        finally:
            await _end_group(process)
            running.unlink(missing_ok=True)
        if status != 0:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            raise HookFailed(f"the {self.name} command ended with {how}: {self._last_line()} (more in {self.log})")

    def _last_line(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LAST_LINE_BYTES))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it has written nothing"


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """The whole group is gone when this returns, whoever cancels the wait."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(process.wait())), GRACE_SECONDS)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def end_left_over(directory: Path) -> None:
    """End the command that a miner which was killed has left running in this directory, if it is the same process."""
    note = directory / RUNNING_FILE
    if not note.exists():
        return
    left = json.loads(note.read_bytes())
    if left["started"] is not None and _start_time(left["pid"]) == left["started"]:
        _signal_group(left["pid"], signal.SIGKILL)
    note.unlink()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _start_time(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None where it is gone (or this is no Linux)."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
