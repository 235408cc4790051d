"""Facts that came in, past tense. Each is one line of the journal; replaying them rebuilds every task.

Times are chain time. Events that the chain tells carry the transaction and the timestamp of their block.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from validator.protocol.commitment import ModelFile, Terms
from validator.protocol.typed_data import OrderMessage
from validator.types import Hash32, TaskId, UnixSeconds

_NONE = Hash32(bytes(32))


@dataclass(frozen=True, slots=True)
class Fact:
    """What all events have in common: the task that they are about, and bytes as hex in the journal."""

    __pydantic_config__: ClassVar[Any] = {"ser_json_bytes": "hex", "val_json_bytes": "hex"}

    task_id: TaskId


@dataclass(frozen=True, slots=True)
class ChainFact(Fact):
    """An event of the contract, seen in a final block."""

    tx_hash: Hash32
    at_s: UnixSeconds


@dataclass(frozen=True, slots=True)
class TaskPlanned(Fact):
    """The payer's Order is here, the dataset is planted, the miner is chosen: the task can be opened."""

    terms: Terms
    validator_nonce: int
    order: OrderMessage
    order_signature: bytes
    spec: str
    base_model: str
    miner_url: str
    miner_tls_key_hash: Hash32 = _NONE
    """SHA-256 of the only TLS key that is accepted at that URL; zero is plain HTTP (`dev` profile; older journals)."""
    request_id: Hash32 = _NONE
    """The customer's request that the task serves; zero where there was none (simulations; older journals)."""
    base_hits: int | None = None
    """Of the base model itself on the task's probes, measured beforehand; None where it does not run here."""


@dataclass(frozen=True, slots=True)
class OpeningFailed(Fact):
    """The task was never opened, and with this plan never will be: nothing has moved."""

    reason: str


@dataclass(frozen=True, slots=True)
class TaskOpened(ChainFact):
    """Escrow and commitment are final: the dataset may leave."""


@dataclass(frozen=True, slots=True)
class DatasetDelivered(Fact):
    """The miner has D_train and has created the fine-tuning job."""

    job_id: str


@dataclass(frozen=True, slots=True)
class TaskAccepted(ChainFact):
    """The miner recomputed datasetRoot and locked its bonds."""


@dataclass(frozen=True, slots=True)
class ModelSubmitted(ChainFact):
    """The miner says that it has finished; probing may begin."""

    model_hash: Hash32


@dataclass(frozen=True, slots=True)
class ModelLocated(Fact):
    """The name under which the miner serves the model; its hash is the submitted one."""

    model_id: str


@dataclass(frozen=True, slots=True)
class ProbeAnswered(Fact):
    """The first complete answer to a probe, which is the answer. `ordinal` counts marks by ascending row leaf."""

    ordinal: int
    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True)
class TranscriptSigned(Fact):
    """The miner signed the replies that we saw."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class MinerFaulted(Fact):
    """The miner broke the protocol over HTTP. Recorded; only deadlines and signed evidence move money."""

    reason: str


@dataclass(frozen=True, slots=True)
class WeightsFetched(Fact):
    """The weights are here, and they are the submitted ones."""

    files: tuple[ModelFile, ...]


@dataclass(frozen=True, slots=True)
class WeightsProbed(Fact):
    """What the returned weights answer to the probes here, as (text, is_cut), in the order of the marks.

    `coverage` is the JSON of a `CoverageResult` (validator/coverage/result.py), None where the task has no such marks.
    """

    replies: tuple[tuple[str, bool], ...]
    coverage: str | None = None


@dataclass(frozen=True, slots=True)
class WeightsFaulted(Fact):
    """No weights that could be probed: never delivered, not the submitted ones, or no model."""

    reason: str


@dataclass(frozen=True, slots=True)
class BundleWritten(Fact):
    """The evidence is on disk, sealed until the settlement is final. `phase` is the one that it settles from."""

    phase: str
    bundle_hash: Hash32


@dataclass(frozen=True, slots=True)
class TaskChallenged(ChainFact):
    """Our challenge stands on chain: the miner must answer there."""


@dataclass(frozen=True, slots=True)
class ChallengeAnswered(ChainFact):
    """The miner's replies stand on chain, in ascending row-leaf order, in place of its signature."""

    reply_hashes: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class TaskSettled(ChainFact):
    """The contract counted the evidence."""

    hits: int
    is_slash_pending: bool
    """The task goes on: to a slash that can be disputed, or to the committee where weights are judged."""


@dataclass(frozen=True, slots=True)
class TaskClosed(ChainFact):
    """A terminal state: everybody is credited."""

    outcome: str


@dataclass(frozen=True, slots=True)
class TimePassed(Fact):
    """Chain time reached the task's `wake_at_s`."""

    now_s: UnixSeconds


Event: TypeAlias = (
    TaskPlanned
    | OpeningFailed
    | TaskOpened
    | DatasetDelivered
    | TaskAccepted
    | ModelSubmitted
    | ModelLocated
    | ProbeAnswered
    | TranscriptSigned
    | MinerFaulted
    | WeightsFetched
    | WeightsProbed
    | WeightsFaulted
    | BundleWritten
    | TaskChallenged
    | ChallengeAnswered
    | TaskSettled
    | TaskClosed
    | TimePassed
)
