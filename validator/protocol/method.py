"""How a task's model is returned: what the spec says of it, and under which names its files come."""

from dataclasses import dataclass
from typing import Any

from validator.errors import BadInput
from validator.protocol.wire import strict_json

LORA, FULL = "lora", "full"
MAX_RANK = 256
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1 << 20
DEFAULT_ADAPTER_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Method:
    """The part of a spec that decides what the returned files are, and how long a prompt they read."""

    name: str
    max_length: int
    """Tokens of a row that are trained on."""
    rank: int | None = None
    """Of a LoRA adapter."""

    @property
    def prompt_limit(self) -> int:
        """Tokens of a prompt that the model sees, in training and when it is asked."""
        return self.max_length // 2

    @property
    def config_file(self) -> str:
        return ADAPTER_CONFIG_FILE if self.name == LORA else CONFIG_FILE

    @property
    def weights_file(self) -> str:
        return ADAPTER_WEIGHTS_FILE if self.name == LORA else WEIGHTS_FILE

    @property
    def file_names(self) -> tuple[str, str]:
        """The only names that are ever asked for, in ascending order (M10, M11)."""
        return self.config_file, self.weights_file


def read_max_length(spec: str) -> int | None:
    """The tokens of a row that a spec trains on, where it says so; BadInput if it is no JSON."""
    max_length = _read(spec).get("max_length")
    return max_length if type(max_length) is int and max_length >= 2 else None


def read_method(spec: str) -> Method:
    """The method of a task's spec; BadInput for a spec that no weights can be returned for."""
    name, rank = map(_read(spec).get, ("method", "rank"))
    max_length = read_max_length(spec)
    if name not in (LORA, FULL):
        raise BadInput(f"weights are returned for the methods {FULL} and {LORA}, not {name!r}")
    if max_length is None:
        raise BadInput("the spec names no max_length")
    if name == FULL:
        return Method(FULL, max_length)
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise BadInput(f"a LoRA adapter has a rank of 1 to {MAX_RANK}, not {rank!r}")
    return Method(LORA, max_length, rank)


def _read(spec: str) -> dict[str, Any]:
    try:
        body = strict_json(spec.encode())
    except ValueError as error:
        raise BadInput(f"the spec is {error}") from error
    if not isinstance(body, dict):
        raise BadInput("the spec is no JSON object")
    return body
