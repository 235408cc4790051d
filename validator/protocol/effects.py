"""Things to do, imperative. An effect is journalled with the event that caused it, then carried out, at least once.

Rule kept: an effect names no secret. Which row a probe asks for, the salt and the proofs are derived again when it
runs.
"""

from dataclasses import dataclass
from typing import TypeAlias

from validator.types import EffectKey, TaskId


@dataclass(frozen=True, slots=True)
class TaskEffect:
    """What all effects have in common: the task, and a key that no other effect ever has."""

    task_id: TaskId

    @property
    def key(self) -> EffectKey:
        return EffectKey(f"0x{self.task_id.hex()}/{type(self).__name__}{self._detail()}")

    def _detail(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class OpenTask(TaskEffect):
    """Send `open_task` with the payer's Order."""


@dataclass(frozen=True, slots=True)
class DeliverDataset(TaskEffect):
    """Upload D_train and create the fine-tuning job."""


@dataclass(frozen=True, slots=True)
class LocateModel(TaskEffect):
    """Ask the job for the name under which the submitted model is served."""


@dataclass(frozen=True, slots=True)
class SendProbe(TaskEffect):
    """Ask one probe; a transport failure is never an answer."""

    ordinal: int

    def _detail(self) -> str:
        return f"/{self.ordinal}"


@dataclass(frozen=True, slots=True)
class RequestTranscript(TaskEffect):
    """Have the miner sign the replies."""


@dataclass(frozen=True, slots=True)
class FetchWeights(TaskEffect):
    """Download the submitted weights."""


@dataclass(frozen=True, slots=True)
class ProbeWeights(TaskEffect):
    """Ask the fetched weights the probes, on our own machine."""


@dataclass(frozen=True, slots=True)
class WriteBundle(TaskEffect):
    """Put the evidence together, sealed, before the settlement that names its hash. `phase` as in Settle."""

    phase: str

    def _detail(self) -> str:
        return f"/{self.phase}"


@dataclass(frozen=True, slots=True)
class PublishBundle(TaskEffect):
    """The settlement is final: open the evidence to everybody."""


@dataclass(frozen=True, slots=True)
class Judge(TaskEffect):
    """Sign what the weights did, collect the committee's verdicts, and send `judge`."""


@dataclass(frozen=True, slots=True)
class Settle(TaskEffect):
    """Send `settle`: the one gate through which a verdict moves money, whether it pays or slashes.

    `phase` tells the settle by signature from the settle by answers on chain: a challenge that crosses the first one
    makes the second necessary. The contract accepts one of them.
    """

    phase: str

    def _detail(self) -> str:
        return f"/{self.phase}"


@dataclass(frozen=True, slots=True)
class Challenge(TaskEffect):
    """Send `challenge`: the miner withholds replies or its signature."""


@dataclass(frozen=True, slots=True)
class Poke(TaskEffect):
    """Send `poke`: a deadline has passed. `phase` tells the pokes of one task apart."""

    phase: str

    def _detail(self) -> str:
        return f"/{self.phase}"


Effect: TypeAlias = (
    OpenTask
    | DeliverDataset
    | LocateModel
    | SendProbe
    | RequestTranscript
    | FetchWeights
    | ProbeWeights
    | WriteBundle
    | PublishBundle
    | Settle
    | Judge
    | Challenge
    | Poke
)
