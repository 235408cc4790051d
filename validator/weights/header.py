"""A safetensors header, read before anything else opens the file: what it may hold, and nothing about its meaning.

Rule kept: whatever the reference parser (the `safetensors` wheel) refuses is refused here too, most of it before a byte
is allocated for it, and what is accepted is stricter: few types, bounded names and counts, no key twice (M1-M5).
The bound on the header bounds the memory of its JSON: about 25 times its size at worst, so 200 MiB.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from validator.errors import MinerFault
from validator.protocol.wire import strict_json

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 20_000
MAX_NAME_BYTES = 256
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""The types that weights may have."""

_LENGTH_BYTES = 8
_MAX_COUNT = 2**64 - 1
_STRING_OR_MINUS = re.compile(rb'"(?:[^"\\]|\\.)*+"|-', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


def read_header(file: int) -> dict[str, Tensor]:
    """The tensors of the safetensors file open as `file`, by name; MinerFault where it is not a whole, plain one."""
    size_bytes = os.fstat(file).st_size
    length_field = os.pread(file, _LENGTH_BYTES, 0)
    length = int.from_bytes(length_field, "little")
    if len(length_field) < _LENGTH_BYTES or not 0 < length <= size_bytes - _LENGTH_BYTES:
        raise MinerFault("not a safetensors file: its header would end outside the file")
    if length > MAX_HEADER_BYTES:
        raise MinerFault(f"the safetensors header is longer than {MAX_HEADER_BYTES} bytes")
    return parse_header(os.pread(file, length, _LENGTH_BYTES), size_bytes - _LENGTH_BYTES - length)


def parse_header(header: bytes, data_bytes: int) -> dict[str, Tensor]:
    """The tensors that a header places in `data_bytes` bytes of data, which they must fill exactly; else MinerFault."""
    if not header.startswith(b"{"):
        raise MinerFault("the safetensors header does not start with {")
    try:
        entries = strict_json(header)
    except ValueError as error:
        raise MinerFault(f"the safetensors header is {error}") from error
    if any(found.group() == b"-" for found in _STRING_OR_MINUS.finditer(header)):
        raise MinerFault("the safetensors header holds a negative number")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MinerFault("the safetensors metadata is not a map of texts")
    if len(entries) > MAX_TENSORS:
        raise MinerFault(f"there are more than {MAX_TENSORS} tensors")
    tensors, places = {}, []
    for name, entry in entries.items():
        if len(name.encode()) > MAX_NAME_BYTES:
            raise MinerFault(f"a tensor's name is longer than {MAX_NAME_BYTES} bytes")
        tensors[name], place = _read_entry(name, entry)
        places.append(place)
    _check_places(places, data_bytes)
    return tensors


def _read_entry(name: str, entry: Any) -> tuple[Tensor, tuple[int, int]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise MinerFault(f"{name!r} has not exactly the keys data_offsets, dtype, shape")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise MinerFault(f"{name!r} is of another type than {', '.join(sorted(ITEM_BYTES))}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise MinerFault(f"the shape or the place of {name!r} is not a list of numbers")
    begin, end = offsets
    if _count(name, shape) * ITEM_BYTES[dtype] != end - begin:
        raise MinerFault(f"the shape of {name!r} does not fit its place")
    return Tensor(dtype, tuple(shape)), (begin, end)


def _count(name: str, shape: list[int]) -> int:
    """Elements of a shape; the reference multiplies in 64 bits, from the left, and refuses what does not fit."""
    count = 1
    for length in shape:
        count *= length
        if count > _MAX_COUNT:
            raise MinerFault(f"the shape of {name!r} does not fit 64 bits")
    return count


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _check_places(places: list[tuple[int, int]], data_bytes: int) -> None:
    at = 0
    for begin, end in sorted(places):
        if begin != at:
            raise MinerFault("the tensors leave a hole or overlap")
        at = end
    if at != data_bytes:
        raise MinerFault("the tensors do not end where the file does")


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    """MinerFault unless a file holds exactly these tensors, of these shapes (M7)."""
    for name in sorted(expected.keys() ^ found.keys()):
        raise MinerFault(f"the tensor {name!r} is {'missing' if name in expected else 'not one of this model'}")
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise MinerFault(f"the tensor {name!r} has the shape {found[name].shape}, not {shape}")
