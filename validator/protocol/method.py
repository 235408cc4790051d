"""How a task's model is returned: what the spec says of it, and under which names its files come."""

from dataclasses import dataclass

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
    prompt_limit: int
    """Tokens of a prompt that the model sees: half of the spec's `max_length`, as in training."""
    rank: int | None = None
    """Of a LoRA adapter."""

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


def read_method(spec: str) -> Method:
    """The method of a task's spec; BadInput for a spec that no weights can be returned for."""
    try:
        body = strict_json(spec.encode())
    except ValueError as error:
        raise BadInput(f"the spec is {error}") from error
    name, rank, max_length = (body.get(key) for key in ("method", "rank", "max_length"))
    if name not in (LORA, FULL):
        raise BadInput(f"weights are returned for the methods {FULL} and {LORA}, not {name!r}")
    if type(max_length) is not int or max_length < 2:
        raise BadInput("the spec names no max_length")
    if name == FULL:
        return Method(FULL, max_length // 2)
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise BadInput(f"a LoRA adapter has a rank of 1 to {MAX_RANK}, not {rank!r}")
    return Method(LORA, max_length // 2, rank)
