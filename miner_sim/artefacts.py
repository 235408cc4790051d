"""Weights files that are none, each wrong in one way, for whoever opens what a stranger returns.

Harmless all of them: what would be run, runs `true`, and what would be read is not there.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

_LENGTH_BYTES = 8
_TIMES_TOO_LARGE = 3


def make_artefact(kind: str, model: str, config_file: str, weights_file: str, into: Path) -> str:
    """A copy of the two files of a model, spoilt as one of `ARTEFACTS` says; returns its directory."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    for name in (config_file, weights_file):
        shutil.copyfile(Path(model) / name, into / name)
    ARTEFACTS[kind](into / config_file, into / weights_file)
    return str(into)


def _end_outside(_config: Path, weights: Path) -> None:
    """The header says that it is as long as 64 bits can say."""
    content = weights.read_bytes()
    weights.write_bytes(b"\xff" * _LENGTH_BYTES + content[_LENGTH_BYTES:])


def _overlap(_config: Path, weights: Path) -> None:
    """Two tensors in one place (a hole behind them)."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    _write_safetensors(weights, {"a": entry, "b": entry}, bytes(16))


def _name_paths(config: Path, weights: Path) -> None:
    """Tensors and a base model that are named like files elsewhere, and code to be fetched and run."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    _write_safetensors(weights, {"../../../../tmp/touchstone": entry}, bytes(4))
    body = json.loads(config.read_bytes())
    body |= {"base_model_name_or_path": "../../../../tmp/touchstone", "auto_map": {"AutoModel": "stranger/code--x.Y"}}
    config.write_text(json.dumps(body))


def _pickle(_config: Path, weights: Path) -> None:
    """What older checkpoints are: a program for the reader's machine."""
    weights.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")


def _grow(_config: Path, weights: Path) -> None:
    """Nothing, many times over, behind what belongs there."""
    with weights.open("ab") as file:
        file.truncate(_TIMES_TOO_LARGE * weights.stat().st_size)


def _deepen(config: Path, _weights: Path) -> None:
    """A configuration that is nested deeper than a parser's stack."""
    config.write_text("[" * 200_000)


def _write_safetensors(path: Path, header: dict[str, object], data: bytes) -> None:
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded + data)


ARTEFACTS: dict[str, Callable[[Path, Path], None]] = {
    "header": _end_outside,
    "overlap": _overlap,
    "paths": _name_paths,
    "pickle": _pickle,
    "oversize": _grow,
    "depth": _deepen,
}
