"""Reads `vectors.json`: the test vectors that other implementations use too."""

import json
from pathlib import Path
from typing import Any

VECTORS_PATH = Path(__file__).with_name("vectors.json")

_VECTORS = json.loads(VECTORS_PATH.read_text("utf-8"))


def vectors(item: str) -> list[dict[str, Any]]:
    """The vectors of one item, hex strings of whole bytes as bytes; addresses stay text."""
    return [_decoded(vector) for vector in _VECTORS[item]]


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_decoded(member) for member in value]
    if isinstance(value, str) and len(value) == 66 and value.startswith("0x"):
        return bytes.fromhex(value[2:])
    return value
