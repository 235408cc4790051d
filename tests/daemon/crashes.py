"""A process that lives through a scenario and dies at every boundary of it, once in each of its children.

    echo SCENARIO [--repeats N] [--shard I/N] [--double STRIDE] [--at K1[,K2]] | python -m tests.daemon.crashes

A boundary is in front of and behind each commit of the journal, each broadcast and each request to a miner: `before`,
it has had no effect; `after`, it has had it and nobody has heard. At each one this process forks. The child is the
world in which the validator was killed just then: nothing of the dead program runs on, not even a `finally`; its files
are taken as they lie on the disk, a new validator starts on them, and the child tells the end that it came to.

--repeats   dies at boundaries that look alike only so often: each block moves the journal's cursor
--shard     dies at one in N of them, told apart by a checksum of their names
--double    dies again, in forks of the child, at every STRIDE-th boundary of its recovery
--at        dies at these boundaries without a fork, and tells the story on standard error; `--at ,` for none

Each line of standard input is answered with lines of JSON, one for each end, the uncrashed one last, and an empty line.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import re
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

import sqlalchemy as sa
import structlog

from tests.daemon import virtual_time
from tests.daemon.invariants import describe_end, find_secrets, find_violations
from tests.daemon.memory_blocks import FUNCTIONS
from tests.daemon.memory_miner import Behaviour
from tests.daemon.memory_rpc import Wire
from tests.daemon.scenarios import SCENARIOS, Trouble
from tests.daemon.world import World
from validator.journal.codec import read_transaction
from validator.protocol.state import TaskState

MEMORY_DIRECTORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a disk that needs no syncing
PATIENCE_S = 60
"""Of real time, for one child: beyond it something turns in a circle without waiting."""
DOWN_S = 0.3
"""How long a killed validator is down."""

_TELLING = re.compile(r"[A-Za-z ]+|0x[0-9a-f]{64}/(.+)")
"""Of the values of a statement: kinds, states, and the keys of effects."""


class Story(Wire):
    """One run of a scenario: it counts the boundaries, and decides where the validator dies."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.scenario = SCENARIOS[options.scenario]
        self.options = options
        self.directory = directory
        self.clock = virtual_time.Clock()
        self.troubles: Sequence[Trouble] = self.scenario.troubles()
        self.count = 0
        """Boundaries since the last crash."""
        self.seen: Counter[str] = Counter()
        self.crashes: list[tuple[int, str]] = []
        self.is_recording = False
        self.logs: list[str] = []
        self._written: list[str] = []
        self.world: World

    # --- the boundaries

    def before(self, what: str, content: Any) -> None:
        self._meet_troubles(what)
        self._reach_wire(what, content, "before")

    def after(self, what: str, content: Any) -> None:
        self._reach_wire(what, content, "after")
        self._meet_troubles(what)

    def _meet_troubles(self, what: str) -> None:
        for trouble in self.troubles:
            trouble.on_the_wire(self.world, what)

    def _reach_wire(self, what: str, content: Any, moment: str) -> None:
        if what == "eth_sendRawTransaction":
            data = read_transaction(bytes.fromhex(content[0][2:])).data
            self.reach(f"broadcast {FUNCTIONS.get(data[:4], 'nothing')}", moment)
        elif not what.startswith("eth_"):
            self.reach(self._describe_request(what, content), moment)

    def _describe_request(self, what: str, content: Any) -> str:
        if what.endswith("/chat/completions"):
            prompts = [mark.row.prompt for mark in self.world.planted.marks]
            return f"request probe {prompts.index(content['messages'][0]['content'])}"
        return "request " + "/".join(part for part in what.split("/") if part.isalpha())

    def note_statement(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        words = statement.split()
        if words[0] not in ("INSERT", "UPDATE"):
            return
        told = [match for value in parameters if isinstance(value, str) and (match := _TELLING.fullmatch(value))]
        table = words[2] if words[0] == "INSERT" else words[1]
        self._written.append(" ".join([words[0].lower(), table, *(match.group(1) or match.group() for match in told)]))

    def note_commit(self, connection: Any) -> None:
        written, self._written = self._written, []
        if written:
            self.reach(", ".join(written), "before")
            # What is committed here SQLAlchemy commits again, which is nothing: so there is an "after" within reach.
            connection.connection.dbapi_connection.commit()
            self.reach(", ".join(written), "after")

    def note_connection(self, raw: Any, _record: Any) -> None:
        self.world.raw_journal = raw
        self.world.limit_disk(is_full=self.world.is_disk_full)

    def note_error(self, context: Any) -> None:
        self.world.disk_refusals += getattr(context.original_exception, "sqlite_errorname", "") == "SQLITE_FULL"

    def note_rollback(self, _connection: Any) -> None:
        self._written = []

    def reach(self, what: str, moment: str) -> None:
        """A boundary: here, or in a fork of this process, the validator may die."""
        if not self.is_recording:
            return
        self.count += 1
        phase = next((state.phase for state in self.world.states.values()), "unplanned")
        place = f"{phase}: {what}, {moment}"
        options, depth = self.options, len(self.crashes)
        if options.at is not None:
            if depth < len(options.at) and self.count == options.at[depth]:
                self._die(place)
            return
        self.seen[place] += 1
        is_new = not options.repeats or self.seen[place] <= options.repeats
        if depth == 0:
            is_wanted = is_new and crc32(place.encode()) % options.shard[1] == options.shard[0]
        else:
            is_wanted = depth == 1 and options.double and (self.count + self.crashes[0][0]) % options.double == 0
        if is_wanted and self._fork():
            self._die(place)

    def _fork(self) -> bool:
        """Whether this is the child; the parent goes on once the child has come to its end."""
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE_S)
            return True
        _pid, status = os.waitpid(child, 0)
        if status:
            place = [*(k for k, _ in self.crashes), self.count]
            self.tell({"crashes": place, "failure": f"ended with {os.waitstatus_to_exitcode(status)}"})
        return False

    def _die(self, place: str) -> NoReturn:
        """The validator is gone, and with it this call: what follows is the rest of the world's life."""
        self.crashes.append((self.count, place))
        self.count = 0
        self._begin_anew(DOWN_S)

    # --- lives

    async def begin(self) -> dict[str, Any]:
        self.world = await World.create(
            self.scenario.behaviours, self.directory, self.clock, self, self.scenario.profile
        )
        for trouble in self.troubles:
            await trouble.prepare(self.world)
        self.world.after_block, self.world.on_change = self._after_block, self._on_change
        return await self._live()

    def _after_block(self) -> None:
        for trouble in self.troubles:
            trouble.after_block(self.world)

    def _on_change(self, state: TaskState) -> None:
        for trouble in self.troubles:
            if down_s := trouble.on_change(self.world, state):
                self._begin_anew(down_s)

    def _begin_anew(self, down_s: float) -> NoReturn:
        """Another life on what the last one left, in files of its own, since forks share theirs; then the end."""
        self.directory = Path(tempfile.mkdtemp(dir=self.directory.parent))
        self.world.move_to(self.directory)
        self.world.violations += find_secrets(self.world, "".join(self.logs))
        # The dead loop never runs again; asyncio only has to believe that none is running here.
        asyncio.events._set_running_loop(None)
        self.run(self._live_again(down_s))

    async def _live_again(self, down_s: float) -> dict[str, Any]:
        self.is_recording = False
        await self.world.be_without_validator(down_s)
        return await self._live()

    async def _live(self) -> dict[str, Any]:
        self.is_recording = True
        journal = await self.world.live()
        self.is_recording = False
        end = await describe_end(self.world, journal)
        return {"end": end, "violations": await find_violations(self.world, journal), "boundaries": len(self.seen)}

    def run(self, life: Coroutine[Any, Any, dict[str, Any]]) -> NoReturn:
        """Tell what comes of a life, and end the process."""
        try:
            end = virtual_time.run(life, self.clock)
        except BaseException as error:  # noqa: BLE001  # boundary: whatever it is, it is told to who reads the line
            end = {"failure": "".join(traceback.format_exception(error)[-6:])}
        crashes = {"crashes": [k for k, _ in self.crashes], "places": [place for _, place in self.crashes]}
        self.tell(crashes | end | {"troubles": [trouble.has_struck for trouble in self.troubles]})
        os._exit(0)

    def tell(self, line: dict[str, Any]) -> None:
        os.write(1, json.dumps(line, default=str).encode() + b"\n")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def parse(line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--shard", type=lambda text: tuple(map(int, text.split("/"))), default=(0, 1))
    parser.add_argument("--repeats", type=int, default=0)
    parser.add_argument("--double", type=int, default=0)
    parser.add_argument("--at", type=_numbers)
    return parser.parse_args(line.split())


def main() -> None:
    warm_up()
    for line in sys.stdin:
        options = parse(line)
        with tempfile.TemporaryDirectory(dir=MEMORY_DIRECTORY) as directory:
            child = os.fork()
            if child == 0:
                live_through(options, Path(directory))
            os.waitpid(child, 0)
        os.write(1, b"\n")


def warm_up() -> None:
    """Live through one scenario in this process itself, so that no fork has to fill the caches of the libraries."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DIRECTORY) as directory:

        async def live() -> None:
            world = await World.create([Behaviour()], Path(directory), clock, Wire())
            (await world.live()).close()
            await world.contract.chain.aclose()

        clock = virtual_time.Clock()
        structlog.configure(processors=[_drop])
        virtual_time.run(live(), clock)
    gc.collect()
    gc.freeze()


def _drop(_logger: Any, _name: str, _event: Any) -> NoReturn:
    raise structlog.DropEvent


def live_through(options: argparse.Namespace, root: Path) -> NoReturn:
    random.seed(0)  # Pauses between attempts are drawn.
    directory = root / "uncrashed"
    directory.mkdir()
    story = Story(options, directory)
    sa.event.listen(sa.pool.Pool, "connect", story.note_connection)
    sa.event.listen(sa.Engine, "before_cursor_execute", story.note_statement)
    sa.event.listen(sa.Engine, "commit", story.note_commit)
    sa.event.listen(sa.Engine, "rollback", story.note_rollback)
    sa.event.listen(sa.Engine, "handle_error", story.note_error)

    def keep(_logger: Any, _name: str, event: Any) -> Any:
        story.logs.append(repr(event))
        if options.at is not None:
            print(f"{story.clock.now_s:9.2f} {event}", file=sys.stderr)
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    story.run(story.begin())


if __name__ == "__main__":
    main()
