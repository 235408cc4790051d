"""What a validator asks for when it creates a fine-tuning job: parsed strictly, bounded, nothing overlooked.

Rule kept: how to train stands in `metadata.spec` alone, whose hash is a term of the task, so a field elsewhere in the
body can never quietly change what was agreed.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from validator.miner.objects import JSON, bad_request
from validator.protocol.method import LORA, MAX_RANK
from validator.protocol.wire import strict_json
from validator.types import Hash32, TaskId

MAX_METADATA_PAIRS = 16
MAX_KEY_LENGTH = 64
MAX_VALUE_LENGTH = 512

_HASH = re.compile(r"0x[0-9a-f]{64}")

ModelT = TypeVar("ModelT", bound=BaseModel)


class Spec(BaseModel):
    """The preimage of the terms' `specHash`: how the model is to be trained."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    base_model: str
    method: Literal["full", "lora"]
    rank: Annotated[int, Field(ge=1, le=MAX_RANK)] | None = None
    """Of the adapter; exactly where the method is lora."""
    epochs: Annotated[int, Field(ge=1, le=100)]
    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    batch_size: Annotated[int, Field(ge=1, le=1024)]
    max_length: Annotated[int, Field(ge=8, le=8192)]
    """Tokens of prompt and response together."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None

    @model_validator(mode="after")
    def _check_rank(self) -> Self:
        if (self.method == LORA) != (self.rank is not None):
            raise ValueError("a rank is named exactly where the method is lora")
        return self


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: str
    training_file: str
    metadata: dict[str, str]
    suffix: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A well-formed request; two are the same request exactly when they are equal."""

    training_file: str
    suffix: str
    metadata: tuple[tuple[str, str], ...]
    task_id: TaskId
    dataset_salt: Hash32
    spec_text: str
    spec: Spec

    def as_body(self) -> JSON:
        """The body that it was read from, or one that reads the same."""
        return {
            "model": self.spec.base_model,
            "training_file": self.training_file,
            "metadata": dict(self.metadata),
            "suffix": self.suffix or None,
        }


def parse_job_request(body: Any, base_model: str) -> JobRequest:
    """Read the body of `POST /v1/fine_tuning/jobs`; Refusal (400) on anything that this miner does not understand."""
    request = _validated(_Body, body, "the request")
    if request.model != base_model:
        raise bad_request(f"this miner trains {base_model!r} only", "model")
    metadata = request.metadata
    if len(metadata) > MAX_METADATA_PAIRS or any(
        len(key) > MAX_KEY_LENGTH or len(value) > MAX_VALUE_LENGTH for key, value in metadata.items()
    ):
        raise bad_request("metadata has at most 16 pairs, keys of 64 and values of 512 characters", "metadata")
    spec_text = metadata.get("spec", "")
    try:
        spec = _validated(Spec, strict_json(spec_text.encode()), "metadata.spec")
    except ValueError as error:
        raise bad_request(f"metadata.spec: {error}", "metadata") from error
    if spec.base_model != base_model:
        raise bad_request(f"metadata.spec: this miner trains {base_model!r} only", "metadata")
    return JobRequest(
        training_file=request.training_file,
        suffix=request.suffix or "",
        metadata=tuple(sorted(metadata.items())),
        task_id=TaskId(parse_hash(metadata.get("task_id"), "metadata.task_id")),
        dataset_salt=parse_hash(metadata.get("dataset_salt"), "metadata.dataset_salt"),
        spec_text=spec_text,
        spec=spec,
    )


def parse_hash(text: Any, name: str) -> Hash32:
    """32 bytes written as 0x and 64 lower-case hex digits; Refusal (400) otherwise."""
    if not isinstance(text, str) or _HASH.fullmatch(text) is None:
        raise bad_request(f"{name} must be 0x and 64 lower-case hex digits", name)
    return Hash32(bytes.fromhex(text[2:]))


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def _validated(kind: type[ModelT], value: JSON, what: str) -> ModelT:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise bad_request(f"{what}: {place}: {first['msg']}", place) from error
