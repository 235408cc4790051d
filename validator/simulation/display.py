"""What a person sees while a simulation runs: one live line per miner on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from validator.protocol.state import Phase, TaskState

_STYLES = {"paid": "green", "slashed": "red"}


def describe(state: TaskState) -> str:
    """A task's stage in a few words."""
    match state.phase:
        case Phase.PLANNED:
            return "opening the task on chain"
        case Phase.OPEN:
            return "delivering the dataset" if state.job_id is None else "checking the dataset, accepting"
        case Phase.ACCEPTED:
            return "training"
        case Phase.SUBMITTED if state.signature is not None:
            return "transcript signed, settling"
        case Phase.SUBMITTED if state.is_probed:
            return "all probes answered, signing"
        case Phase.SUBMITTED:
            return f"probing {sum(answer is not None for answer in state.answers)}/{state.terms.n}"
        case Phase.SLASH_PENDING:
            return f"{state.hits}/{state.terms.n} hits, the slash waits out its delay"
        case Phase.CLOSED:
            return state.outcome or "closed"
    return state.phase.value


class Display:
    """Progress of a run; a context manager. With `is_quiet` it says nothing at all."""

    def __init__(self, console: Console, names: list[str], *, is_quiet: bool) -> None:
        self._console = console
        self._is_quiet = is_quiet
        self._stage = ""
        self._tasks = dict.fromkeys(names, "")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, transient=True)
        self._is_live = console.is_terminal and not is_quiet

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live:
            self._live.stop()

    def stage(self, text: str) -> None:
        """The simulation as a whole has come to a new stage."""
        self._stage = text
        self._say(text)

    def task(self, name: str, state: TaskState) -> None:
        """A miner's task has changed."""
        text = describe(state)
        if text != self._tasks[name]:
            self._tasks[name] = text
            if not text.startswith("probing") or text.endswith(f" 0/{state.terms.n}"):
                self._say(f"  {name}: {text}")

    def training(self, name: str, step: int, steps: int, train_loss: float) -> None:
        """A miner reports a training step."""
        if self._tasks[name].startswith("training"):
            self._tasks[name] = f"training, step {step}/{steps}, loss {train_loss:.3f}"

    def fault(self, name: str, reason: str) -> None:
        """A miner says that it will not finish: nobody need believe it, and its deadline is waited for."""
        self._tasks[name] = reason
        self._say(f"  {name}: {reason}")

    def _say(self, line: str) -> None:
        if not self._is_live and not self._is_quiet:
            self._console.print(line, highlight=False)

    def _render(self) -> Table:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(Spinner("dots"), Text(self._stage, style="bold"))
        for name, text in self._tasks.items():
            grid.add_row(Text(name, style="cyan"), Text(text, style=_STYLES.get(text, "")))
        return grid
