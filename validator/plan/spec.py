"""How a customer wants its model trained, as the JSON whose hash stands in the terms."""

import json
from dataclasses import asdict, dataclass

from validator.errors import BadInput
from validator.protocol.commitment import hash_spec
from validator.protocol.method import FULL, LORA, MAX_RANK
from validator.types import Hash32

MAX_SPEC_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """How the customer wants the model trained; its JSON is the preimage of the terms' specHash.

    It names no seed: every miner takes its own. The defaults, here and on the command line, are measured on the
    embedded model and must not be carried over to large ones. `rank` is that of a LoRA adapter.
    """

    base_model: str
    epochs: int
    learning_rate: float
    batch_size: int = 4
    max_length: int = 256
    method: str = FULL
    rank: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 100:
            raise BadInput(f"the number of epochs is 1 to 100, not {self.epochs}")
        if not 0 < self.learning_rate <= 1:
            raise BadInput(f"nothing can be learnt at a learning rate of {self.learning_rate}: it is over 0, at most 1")
        if self.batch_size < 1 or self.max_length < 2:
            raise BadInput("a batch has at least 1 row, and a row at least 2 tokens")
        if self.method not in (FULL, LORA):
            raise BadInput(f"unknown method {self.method!r}: it is {FULL} or {LORA}")
        if (self.method == LORA) != (self.rank is not None):
            raise BadInput(f"the method {LORA} has a rank, {FULL} has none")
        if self.rank is not None and not 1 <= self.rank <= MAX_RANK:
            raise BadInput(f"the rank of an adapter is 1 to {MAX_RANK}, not {self.rank}")
        if len(self.to_json()) > MAX_SPEC_CHARACTERS:
            raise BadInput(
                f"the spec has more than {MAX_SPEC_CHARACTERS} characters: the base model's name is too long"
            )

    def to_json(self) -> str:
        spec = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(spec, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> Hash32:
        return hash_spec(self.to_json())
