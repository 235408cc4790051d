"""The seam between what every miner does and how one makes its models and answers by them.

Whoever trains with a command and answers by a server is `hook_backend.py`; a simulated miner does whatever its strategy
says (`miner_sim/backend.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web

from validator.edges.contract import TaskStatus
from validator.errors import TouchstoneError
from validator.miner.chain_client import Deadline, OpenedTask
from validator.miner.job import Dataset, Job, ServedModel
from validator.miner.objects import JSON
from validator.miner.transcript import Signing

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Unacceptable(TouchstoneError):
    """A task that this miner will not accept; `code` is for the error of its job."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Step(IntEnum):
    """Where a job stands with its validator, in the order of the protocol; what is not over HTTP is on chain."""

    RECEIVE = 1
    """Upload and job, over HTTP."""
    ACCEPT = 2
    SUBMIT = 3
    ANSWER = 4
    """Each probe, over HTTP."""
    SIGN = 5
    """The transcript, over HTTP."""
    RETURN = 6
    """Each file of the weights, over HTTP."""
    REPLY = 7
    """To a challenge."""


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do for a task that this miner has accepted. `deadline` is the one for submitting."""

    job: Job
    opened: OpenedTask
    dataset: Dataset
    model_id: str
    """What the model will be called on the wire."""
    status: TaskStatus
    deadline: Deadline | None
    """None once the model is submitted."""


@dataclass(frozen=True, slots=True)
class MadeModel:
    """What came of the work: the model that answers, and the directory whose files are hashed and returned."""

    serves: str
    returns: str


class Backend(ABC):
    """How one miner does what miners do differently."""

    places: int | None = None
    """How many tasks may be accepted and not submitted at a time; None: any number."""
    holds_place_until_closed = False
    """Whether a task keeps its place until it is closed on chain: the model server has room for no other model."""

    async def check(self, opened: OpenedTask, job: Job, rows: int) -> None:
        """Unacceptable for a task that this miner does not want, though the protocol lets it be."""

    @abstractmethod
    async def make_model(self, work: Work) -> MadeModel:
        """Train, and make the model ready to answer; called again after a restart."""

    @abstractmethod
    async def answer(self, model: ServedModel, prompt: str) -> JSON:
        """The answer to a probe: {text, finish_reason, prompt_tokens, completion_tokens}; Refusal if there is none."""

    async def sign(self, signing: Signing) -> JSON:
        """The transcript that is asked for, signed."""
        return await signing.once()

    async def act(self, step: Step, deadline: Deadline, honestly: Callable[[], Awaitable[None]]) -> None:
        """A step on chain, which counts until the deadline: `honestly` takes it; the job goes on when this returns."""
        await honestly()

    async def respond(self, step: Step, request: web.Request, honestly: Handler) -> web.StreamResponse:
        """A step over HTTP: `honestly` makes the answer to a request whose session token was checked."""
        return await honestly(request)

    async def retire(self, job: Job) -> None:
        """Let go of what the job holds: its task has been closed for long."""
