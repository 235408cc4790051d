"""The small language model that is shipped: every part works with it, without a download."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

EMBEDDED_MODEL = str(files("validator.base_model"))
EMBEDDED_MODEL_NAME = "touchstone-base"
"""Its name in specs, and its directory."""


def base_model_paths(chosen: Mapping[str, Path]) -> dict[str, str]:
    """The directories of base models by their names in specs: the operator's, and this one."""
    return {EMBEDDED_MODEL_NAME: EMBEDDED_MODEL} | {name: str(path) for name, path in chosen.items()}
