"""A miner's adapter_config.json, of which six values and the names of modules are read, and nothing else is believed.

Rule kept: the file is never given to PEFT, which would import modules and fetch models that it names (M8); the
configuration that PEFT gets is built here, and the tensors must be exactly those that it makes on the base model (M7).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from validator.errors import MinerFault
from validator.protocol.wire import strict_json

MAX_TARGETS = 256
MAX_ALPHA = 1e6
PREFIX = "base_model.model."
"""Of PEFT, in front of every tensor's name."""

UNSUPPORTED = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)
"""What would make of the same tensors another model than the one that we probe: refused rather than overlooked."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter as we understand it: B A x, scaled by alpha / r, or by alpha / sqrt(r) where rank-stabilised."""

    rank: int
    alpha: float
    is_rank_stabilised: bool
    targets: tuple[str, ...]
    """Names of modules, or ends of names behind a dot, ascending."""

    def is_target(self, module: str) -> bool:
        return any(module == target or module.endswith(f".{target}") for target in self.targets)

    def config_json(self, base_model: str) -> dict[str, Any]:
        """adapter_config.json in our own words, for a server that reads it from disk."""
        return {
            "base_model_name_or_path": base_model,
            "bias": "none",
            "lora_alpha": self.alpha,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": list(self.targets),
            "task_type": "CAUSAL_LM",
            "use_rslora": self.is_rank_stabilised,
        }


def read_adapter(config: bytes, rank: int, modules: Mapping[str, tuple[int, int]] | None) -> Adapter:
    """Read adapter_config.json; MinerFault on anything but a plain LoRA of this rank on some of these modules.

    `modules` has the linear modules of the base model by name, with the lengths of what they give and take; None where
    nobody has the base model to compare with.
    """
    try:
        body = strict_json(config)
    except ValueError as error:
        raise MinerFault(f"adapter_config.json is {error}") from error
    if not isinstance(body, dict):
        raise MinerFault("adapter_config.json is not an object")
    is_rank_stabilised = body.get("use_rslora", False)
    rank_found: Any = body.get("r")
    alpha: Any = body.get("lora_alpha")
    targets: Any = body.get("target_modules")
    for is_fine, complaint in (
        (body.get("peft_type") == "LORA", "peft_type is not LORA"),
        (body.get("task_type") in (None, "CAUSAL_LM"), "task_type is not CAUSAL_LM"),
        (body.get("bias", "none") == "none", "bias is not none"),
        (isinstance(is_rank_stabilised, bool), "use_rslora is not true or false"),
        (type(rank_found) is int and rank_found == rank, f"r is not {rank}, as in the spec"),
        (_is_number(alpha) and 0 < alpha <= MAX_ALPHA, f"lora_alpha is not over 0 and at most {MAX_ALPHA:g}"),
        (_are_names(targets), f"target_modules is not a list of 1 to {MAX_TARGETS} names"),
        *((not body.get(key), f"{key} is not supported") for key in UNSUPPORTED),
    ):
        if not is_fine:
            raise MinerFault(f"adapter_config.json: {complaint}")
    adapter = Adapter(rank, float(alpha), is_rank_stabilised, tuple(sorted(targets)))
    for target in adapter.targets:
        if modules is not None and not any(module == target or module.endswith(f".{target}") for module in modules):
            raise MinerFault(f"adapter_config.json: the base model has no linear module {target[:64]!r}")
    return adapter


def expected_tensors(adapter: Adapter, modules: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the adapter has on these linear modules."""
    tensors: dict[str, tuple[int, ...]] = {}
    for module, (out_length, in_length) in modules.items():
        if adapter.is_target(module):
            tensors[f"{PREFIX}{module}.lora_A.weight"] = (adapter.rank, in_length)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = (out_length, adapter.rank)
    return tensors


def adapter_bytes(rank: int, modules: Mapping[str, tuple[int, int]]) -> int:
    """The largest adapter of this rank, in float32, on every linear module."""
    return sum(4 * rank * (out_length + in_length) for out_length, in_length in modules.values())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_TARGETS
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )
