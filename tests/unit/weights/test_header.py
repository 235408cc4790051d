"""The header of a safetensors file: nothing is accepted that the reference refuses, nor anything beyond our bounds."""

import json
import os
import random
import resource
import struct
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from validator.errors import MinerFault
from validator.weights.header import (
    ITEM_BYTES,
    MAX_HEADER_BYTES,
    MAX_NAME_BYTES,
    MAX_TENSORS,
    Tensor,
    check_tensors,
    parse_header,
    read_header,
)

PLAIN = {
    "a": np.ones((2, 3), np.float32),
    "b": np.zeros((4,), np.float16),
    "c": np.array(7, np.float32),
    "d": np.ones((0, 9), "f4"),
}
STRICTER = (
    "start with",
    "another type than",
    "longer than",
    "not exactly the keys",
    "a key stands twice",
    "metadata",
    "more than",
)
"""Where we refuse what the reference takes: white space in front (against the format), types, bounds, doubled keys."""


ONE = b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def entry(begin: Any, end: Any, shape: Any = None, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def packed(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read(content: bytes) -> dict[str, Tensor]:
    file = os.memfd_create("weights")
    try:
        os.write(file, content)
        return read_header(file)
    finally:
        os.close(file)


def reference(content: bytes) -> bool:
    """Whether the wheel takes it."""
    try:
        deserialize(content)
    except SafetensorError:
        return False
    return True


def test_a_plain_file_is_read_as_it_was_written():
    assert read(save(PLAIN, {"format": "pt"})) == {
        "a": Tensor("F32", (2, 3)),
        "b": Tensor("F16", (4,)),
        "c": Tensor("F32", ()),
        "d": Tensor("F32", (0, 9)),
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "outside the file"),
        (b"\x02\0\0\0\0\0\0", "outside the file"),
        (struct.pack("<Q", 0), "outside the file"),
        (struct.pack("<Q", 0) + b"{}", "outside the file"),
        (struct.pack("<Q", 3) + b"{}", "outside the file"),
        (struct.pack("<Q", 2**63) + b"{}", "outside the file"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "outside the file"),
        (struct.pack("<q", -1) + b"{}", "outside the file"),
    ],
)
def test_a_header_that_ends_outside_the_file_is_refused(content, complaint):
    """M1."""
    assert not reference(content)
    with pytest.raises(MinerFault, match=complaint):
        read(content)


def test_a_header_over_the_bound_is_refused_before_it_is_read(tmp_path):
    """M2: 100 MB that are announced and there, in a sparse file."""
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000))
        file.truncate(200_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file_descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(MinerFault, match=f"longer than {MAX_HEADER_BYTES}"):
        read_header(file_descriptor)
    os.close(file_descriptor)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


@pytest.mark.parametrize(
    "filler",
    ['"%x":[]', '"%x":{"a":[]}', '"__metadata__":{"k%x":""}', '"%x":{"dtype":"F32","shape":[],"data_offsets":[0,0]}'],
)
def test_the_worst_header_within_the_bound_costs_bounded_memory(filler):
    """M2: measured in a process of its own, since a peak never falls."""
    script = f"""if True:
        import resource
        from validator.errors import MinerFault
        from validator.weights.header import MAX_HEADER_BYTES, parse_header
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        item = {filler!r}
        count = MAX_HEADER_BYTES // (len(item) + 4)
        header = b"{{" + ",".join(item % i for i in range(count)).encode() + b"}}"
        assert MAX_HEADER_BYTES * 0.8 < len(header) <= MAX_HEADER_BYTES, len(header)
        try:
            parse_header(header, 0)
            raise SystemExit("it was accepted")
        except MinerFault:
            pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 512 << 10


@pytest.mark.parametrize(
    ("header", "data_bytes", "complaint"),
    [
        ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "hole or overlap"),
        ({"a": entry(0, 8), "b": entry(0, 8)}, 8, "hole or overlap"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "hole or overlap"),
        ({"a": entry(4, 8)}, 8, "hole or overlap"),
        ({"a": entry(0, 8)}, 12, "do not end where the file does"),
        ({"a": entry(0, 8)}, 4, "do not end where the file does"),
        ({"a": entry(0, 8, [3])}, 8, "does not fit its place"),
        ({"a": entry(8, 0, [2])}, 8, "does not fit its place"),
        (b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', 8, "negative|does not fit"),
        (b'{"a":{"dtype":"F32","shape":[-2,-1],"data_offsets":[0,8]}}', 8, "negative"),
        (b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', 0, "negative"),
        ({"a": entry(0, 8, [2**32, 2**32])}, 8, "64 bits"),
        ({"a": entry(0, 0, [2**63, 2, 0])}, 0, "64 bits"),
        ({"a": entry(0, 8, [2.0])}, 8, "not a list of numbers"),
        ({"a": entry(0, 8, [True, 2])}, 8, "not a list of numbers"),
        ({"a": entry(0, 8, "22")}, 8, "not a list of numbers"),
        ({"a": entry(0, 8) | {"data_offsets": [0, 8, 8]}}, 8, "not a list of numbers"),
        ({"a": entry(0, 8, dtype="I32")}, 8, "another type"),
        ({"a": entry(0, 1, [2], dtype="F4")}, 1, "another type"),
        ({"a": entry(0, 8, dtype=["F32"])}, 8, "another type"),
        ({"a": entry(0, 8) | {"more": 1}}, 8, "not exactly the keys"),
        ({"a": [0, 8]}, 8, "not exactly the keys"),
        ({"x" * (MAX_NAME_BYTES + 1): entry(0, 8)}, 8, "name is longer"),
        ({str(i): entry(0, 0, [0]) for i in range(MAX_TENSORS + 1)}, 0, "more than"),
        ({"__metadata__": {"a": 1}}, 0, "metadata"),
        ({"__metadata__": ["a"]}, 0, "metadata"),
        (b"{" + ONE + b"," + ONE + b"}", 8, "twice"),
        (b'{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}', 8, "twice"),
        (b" {" + ONE + b"}", 8, "start with"),
        (b"[]", 0, "start with"),
        (b'{"a":NaN}', 0, "not JSON"),
        (b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}', 8, "64 bits"),
        (b"{" + b'"a":{' * 40_000, 0, "nested too deeply|not valid JSON"),
        (b'{"\xff":1}', 0, "UTF-8"),
        (b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8, "surrogate"),
        (b"{}\0\0", 0, "not valid JSON"),
        (b"{} x", 0, "not valid JSON"),
    ],
    ids=lambda value: None if isinstance(value, int | str) else repr(value)[:60],
)  # fmt: skip
def test_a_header_that_breaks_the_rules_is_refused(header, data_bytes, complaint):
    """M3, M4."""
    content = packed(header, bytes(data_bytes))
    with pytest.raises(MinerFault, match=complaint) as fault:
        read(content)
    assert not reference(content) or any(reason in str(fault.value) for reason in STRICTER)


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # Without a date `zipfile` takes the present one, which would name the test anew every two seconds.
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02cos\nsystem\n.")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "prefix",
    [
        zipped(),
        b"\x80\x02cos\nsystem\nq\0.",
        b"\x1f\x8b\x08",
        b"x\x9c",
        b"GGUF\x03",
        b"\x89HDF\r\n\x1a\n",
        b"PK\x05\x06",
    ],
)
def test_whatever_else_a_file_is_it_is_no_safetensors_file(prefix):
    """M5, M10: behind such a beginning a whole safetensors file may follow; nothing looks for it."""
    with pytest.raises(MinerFault):
        read(prefix + save(PLAIN))


def test_a_zip_behind_the_tensors_is_trailing_bytes():
    """M5: a polyglot that a zip reader would open from its end."""
    with pytest.raises(MinerFault, match="do not end where the file does"):
        read(save(PLAIN) + zipped())


def mutated(dice: random.Random) -> bytes:
    """A file that is nearly right: a few tensors, then a few changes to numbers, structure or single bytes."""
    tensors, at = {}, 0
    for i in range(dice.randrange(4)):
        dtype = dice.choice([*ITEM_BYTES, "F64", "F4", "I8", "BOOL", "f32"])
        shape = [dice.choice([0, 1, 2, 3, 2**31, 2**32, 2**63]) if dice.random() < 0.3 else dice.randrange(1, 4)
                 for _ in range(dice.randrange(4))]  # fmt: skip
        size = ITEM_BYTES.get(dtype, 1)
        for length in shape:
            size *= length
        size = size if size < 4096 else 8
        tensors[f"t{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    if dice.random() < 0.2:
        tensors["__metadata__"] = dice.choice([{}, {"a": "b"}, {"a": 1}, None, "x", []])
    text = json.dumps(tensors, separators=dice.choice([(",", ":"), (", ", ": ")]))
    for _ in range(dice.choice([0, 0, 1, 1, 2, 3])):
        place = dice.randrange(len(text) + 1)
        change = dice.choice(
            [
                "",
                "-",
                "0",
                "1",
                "9",
                ".",
                "e1",
                " ",
                "\n",
                ",",
                '"',
                "[",
                "]",
                "{",
                "}",
                "\\",
                "\\u0041",
                "null",
                "true",
            ]
        )
        text = text[:place] + change + text[place + dice.randrange(2) :]
    data = bytes(max(0, at + dice.choice([0, 0, 0, 0, 1, -1, 4])))
    header = text.encode()
    length = len(header) + dice.choice([0] * 12 + [1, -1, 2**32, 2**63])
    return struct.pack("<Q", length % 2**64) + header + data


def verdict(content: bytes) -> tuple[dict[str, Tensor] | None, str]:
    try:
        return read(content), ""
    except MinerFault as fault:
        return None, str(fault)


@pytest.mark.parametrize("count", [40_000, pytest.param(3_000_000, marks=pytest.mark.soak)])
def test_differential_fuzz_against_the_reference(count):
    """M3, M4: never accepted where the reference refuses; refused beyond it only for our own stricter rules."""
    dice = random.Random(20)
    accepted = 0
    for _ in range(count):
        content = mutated(dice)
        tensors, reason = verdict(content)
        if tensors is None:
            assert not reference(content) or any(stricter in reason for stricter in STRICTER), (content, reason)
            continue
        accepted += 1
        assert reference(content), content
        found = {name: (info["dtype"], tuple(info["shape"])) for name, info in deserialize(content)}
        assert found == {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    assert accepted > count // 20


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({"a": (2, 3)}, "'b' is missing"),
        ({"a": (2, 3), "b": (4,), "c": (1,)}, "'c' is not one of this model"),
        ({"a": (3, 2), "b": (4,)}, "'a' has the shape"),
        ({"a": (2, 3), "b": (4, 1)}, "'b' has the shape"),
    ],
)
def test_tensors_are_exactly_the_expected_ones(found, complaint):
    """M7."""
    tensors = {name: Tensor("F32", shape) for name, shape in found.items()}
    with pytest.raises(MinerFault, match=complaint):
        check_tensors(tensors, {"a": (2, 3), "b": (4,)})


def test_a_header_says_nothing_about_what_the_path_is_called(tmp_path: Path):
    """M5: the extension chooses no parser."""
    (tmp_path / "adapter_model.bin").write_bytes(save(PLAIN))
    file = os.open(tmp_path / "adapter_model.bin", os.O_RDONLY)
    assert set(read_header(file)) == set(PLAIN)
    os.close(file)
    assert parse_header(b"{}", 0) == {}
