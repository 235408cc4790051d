"""What crosses HTTP between validator and miner: training lines, probes, replies.

Rule kept: both sides parse with these functions, and whatever is not exactly the protocol's form is refused, so nobody
can make an honest model miss by a stop word, a penalty, a system turn or a doubled key (protocol, "Canonical bytes").
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from validator.protocol.commitment import SEPARATOR, WHITE_SPACE, Row, split_head

TEMPERATURE = 0

MAX_JSON_DEPTH = 32

_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def encode_training_file(rows: Sequence[Row]) -> bytes:
    """The JSONL file that is uploaded: one canonical line per row, "\\n" behind each."""
    return b"".join(_encode_line(row) + b"\n" for row in rows)


def _encode_line(row: Row) -> bytes:
    messages = [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.response}]
    return json.dumps({"messages": messages}, ensure_ascii=False, separators=(",", ":")).encode()


def parse_training_file(data: bytes) -> list[Row]:
    """Read a training file; ValueError with the line number on anything but canonical rows."""
    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=1):
        try:
            rows.append(_parse_line(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return rows


def _parse_line(line: bytes) -> Row:
    body = strict_json(line)
    messages = _only_keys(body, {"messages"})["messages"]
    if not isinstance(messages, list) or len(messages) != 2:
        raise ValueError("exactly one user and one assistant message are needed")
    contents = []
    for message, role in zip(messages, ("user", "assistant"), strict=True):
        if _only_keys(message, {"role", "content"})["role"] != role:
            raise ValueError(f"expected the role {role!r}")
        contents.append(_text(message["content"]))
    return Row(*contents)


def build_probe(model: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    """The body of `POST /v1/chat/completions` for one probe."""
    message = {"role": "user", "content": prompt}
    return {"model": model, "messages": [message], "temperature": TEMPERATURE, "max_tokens": max_tokens}


def parse_probe(body: Any, max_tokens: int) -> tuple[str, str]:
    """Read a chat or completions request as (model, prompt); ValueError if it is not exactly a probe of this task."""
    if isinstance(body, dict) and "prompt" in body:
        prompt = _text(_only_keys(body, {"model", "prompt", "temperature", "max_tokens"})["prompt"])
    else:
        messages = _only_keys(body, {"model", "messages", "temperature", "max_tokens"})["messages"]
        if not isinstance(messages, list) or len(messages) != 1:
            raise ValueError("a probe has exactly one message")
        if _only_keys(messages[0], {"role", "content"})["role"] != "user":
            raise ValueError("a probe has exactly one user message")
        prompt = _text(messages[0]["content"])
    if body["temperature"] != TEMPERATURE or isinstance(body["temperature"], bool):
        raise ValueError("temperature must be 0")
    if body["max_tokens"] != max_tokens or isinstance(body["max_tokens"], bool):
        raise ValueError(f"max_tokens must be {max_tokens}, as in the terms")
    return _text(body["model"]), prompt


def parse_completion(body: Any, model: str) -> tuple[str, bool]:
    """The text of a chat completion, and whether the token limit cut it; ValueError if it is no complete answer."""
    if not isinstance(body, dict) or body.get("model") != model:
        raise ValueError("the answer is not from the model that was asked")
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ValueError("a completion has exactly one choice")
    reason = choices[0].get("finish_reason")
    if reason not in ("stop", "length"):
        raise ValueError(f"finish_reason {reason!r} is not a complete answer")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise ValueError("the choice has no message")
    return _text(message.get("content")), reason == "length"


def reply_head(text: str, *, is_cut: bool, w: int) -> str | None:
    """The first `w` words of a reply, all of it if it has no more; None where the token limit cut into them: a miss."""
    answer = text.lstrip(WHITE_SPACE)
    head, _rest = split_head(answer, w)
    return None if is_cut and answer.count(SEPARATOR) < w else head


def count_unanswerable(rows: Sequence[Row], w: int) -> int:
    """Rows that even the model that gives every response back can never hit: those that start with white space."""
    return sum(reply_head(row.response, is_cut=False, w=w) != split_head(row.response, w)[0] for row in rows)


def strict_json(data: bytes) -> Any:
    """Decode JSON; ValueError on what parsers disagree about or choke on (N12).

    That is bad UTF-8, a BOM, lone surrogates, duplicate keys, numbers that 64 bits do not hold, deep nesting.
    """
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_small_int,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise ValueError("not valid UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos + 1}") from error
    if "\\ud" in text.lower():
        _check_surrogates(value)
    return value


def _check_depth(text: str) -> None:
    """Before the parser, which recurses in C: py_ecc raises the recursion limit to 100,000, more than the stack."""
    depth = 0
    for found in _STRING_OR_BRACKET.findall(text):
        if found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        if depth > MAX_JSON_DEPTH:
            raise ValueError("nested too deeply")


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate is not text") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("a key stands twice")
    return decoded


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _small_int(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError("a number does not fit 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number does not fit 64 bits")
    return value


def _only_keys(value: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != keys:
        raise ValueError(f"exactly the keys {', '.join(sorted(keys))} are allowed")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text was expected")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate is not text") from error
    return value
