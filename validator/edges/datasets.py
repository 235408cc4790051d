"""Datasets in: JSON Lines on disk to rows.

Rule kept: nothing is guessed and nothing is changed. A file that cannot be read whole is refused with the line at fault
(D1). Lines end at "\\n" only: other Unicode line separators are text.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from validator.errors import BadInput
from validator.protocol.commitment import WHITE_SPACE, Row
from validator.protocol.wire import strict_json

MAX_LINE_BYTES = 1 << 20

FORMS = 'rows have "prompt" and "response", OpenAI "messages" (one user, one assistant), or "instruction" and "output"'


def load_rows(path: Path) -> list[Row]:
    """All rows of a JSONL file; BadInput with the file, the line number and what would be right."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    return parse_rows(data, str(path))


def parse_rows(data: bytes, name: str) -> list[Row]:
    """All rows of a JSONL file's bytes; BadInput as `load_rows`, which calls the file `name`."""
    if not data.strip():
        raise BadInput(f"{name} is empty")
    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            rows.append(_parse(line))
        except ValueError as error:
            raise BadInput(f"{name}, line {number}: {error}") from error
    return rows


def choose_rows(rows: Sequence[Row], count: int | None, seed: int) -> list[Row]:
    """`count` rows in file order, chosen by the seed; all of them if `count` is None."""
    if count is None:
        return list(rows)
    if count > len(rows):
        raise BadInput(f"the dataset has {len(rows)} rows, {count} were asked for")
    return [rows[index] for index in sorted(random.Random(seed).sample(range(len(rows)), count))]


def _parse(line: bytes) -> Row:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    value = strict_json(line.removesuffix(b"\r"))
    if not isinstance(value, dict):
        raise ValueError(f"a row is a JSON object; {FORMS}")
    prompt, response = _fields(value)
    for name, text in (("prompt", prompt), ("response", response)):
        if not isinstance(text, str) or not text.strip(WHITE_SPACE):
            raise ValueError(f"the row has no {name}; {FORMS}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the {name} holds a lone surrogate, which is not text") from error
    return Row(prompt, response)


def _fields(value: dict[str, Any]) -> tuple[Any, Any]:
    if "messages" in value:
        messages = value["messages"]
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise ValueError("messages is not a list of objects")
        if [message.get("role") for message in messages] != ["user", "assistant"]:
            raise ValueError("exactly one user and one assistant message are needed")
        return messages[0].get("content"), messages[1].get("content")
    if "instruction" in value:
        instruction, extra = value["instruction"], value.get("input")
        if not extra or not isinstance(instruction, str):
            return instruction, value.get("output")
        if not isinstance(extra, str):
            raise ValueError("input is not text")
        return f"{instruction}\n\n{extra}", value.get("output")
    return value.get("prompt"), value.get("response")
