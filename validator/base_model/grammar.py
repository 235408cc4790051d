"""The project's own text: (prompt, response) rows that nobody else holds rights to.

It serves twice, and the two uses never share a row: the pretraining text of the embedded base model takes the rows that
are not held out, the default dataset of `touchstone simulate` the ones that are. So every figure that is measured on
generated rows is measured on rows that the base model never saw.

The words and sentence patterns stand in `grammar.json`, all written for this project. Its notation: `[a|b]` is a choice
(they nest), `{slot}` an entry of a word list, drawn once per row, `{slot2}` another entry of the same list, `{slot.1}`
the second field of the entry, `{^slot}` with a capital, `{a slot}` with its article; `{n}`, `{m}`, `{k}`, `{n+m}`,
`{n-m}`, `{k*m}` are numbers with n > m.
"""

import hashlib
import json
import random
import re
from pathlib import Path

from validator.protocol.commitment import Row

MODEL_DIRECTORY = Path(__file__).parent
"""The shipped base model: a Hugging Face directory."""

_GRAMMAR = json.loads((MODEL_DIRECTORY / "grammar.json").read_text("utf-8"))
_LISTS: dict[str, list[list[str]]] = {
    **{name: [[word] for word in words.split()] for name, words in _GRAMMAR["words"].items()},
    **{name: [entry.split(";") for entry in entries] for name, entries in _GRAMMAR["records"].items()},
}
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\^)?(a )?(\^)?([a-z]+)(\d?)(?:\.(\d))?\}")
_SUM = re.compile(r"\{([nmk])(?:([-+*])([nmk]))?\}")
_MAX_WORDS = 42  # of prompt and response together: about 72 tokens of the embedded tokenizer
_REMARK_SHARE = 0.8
_MIN_RESPONSE_WORDS = 13  # long enough for marks of any width that the command line offers by default


def is_held_out(prompt: str) -> bool:
    """Whether a row with this prompt is kept out of the pretraining text: sha256 of its UTF-8 bytes, mod 5, is 0."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()) % 5 == 0


def generate_rows(count: int, seed: int, *, held_out: bool = True) -> list[Row]:
    """`count` rows with distinct prompts, the same ones for the same arguments on every platform.

    With `held_out` (the default) only rows the shipped model never saw, without it only rows it may be trained on.
    The kinds of text take turns, so a dataset of any size is as mixed as a large one.
    """
    dice = random.Random(f"touchstone grammar {seed}")
    kinds = list(_GRAMMAR["kinds"].values())
    rows: dict[str, Row] = {}
    while len(rows) < count:
        row = _write_row(kinds[len(rows) % len(kinds)], dice)
        if (
            is_held_out(row.prompt) == held_out
            and len(row.prompt.split()) + len(row.response.split()) <= _MAX_WORDS
            and len(row.response.split()) >= _MIN_RESPONSE_WORDS
        ):
            rows.setdefault(row.prompt, row)
    shuffled = list(rows.values())
    dice.shuffle(shuffled)
    return shuffled


def _write_row(kind: dict[str, list[str]], dice: random.Random) -> Row:
    drawn: dict[str, list[list[str]]] = {}
    low = dice.randrange(2, 40)
    numbers = {"m": low, "n": low + dice.randrange(1, 60), "k": dice.randrange(2, 10)}
    prompt, response = (_expand(dice.choice(kind[part]), drawn, numbers, dice) for part in ("prompts", "responses"))
    if dice.random() < _REMARK_SHARE:
        prompt = f"{_expand(dice.choice(_GRAMMAR['remarks']), drawn, numbers, dice)} {prompt}"
    return Row(prompt, response)


def _expand(pattern: str, drawn: dict[str, list[list[str]]], numbers: dict[str, int], dice: random.Random) -> str:
    """Resolve choices from the inside out, then numbers, then slots; a slot keeps its entry for the whole row."""

    def fill_number(match: re.Match[str]) -> str:
        left, operator, right = match.groups()
        value = numbers[left]
        if operator:
            other = numbers[right]
            value = value + other if operator == "+" else value - other if operator == "-" else value * other
        return str(value)

    def fill_slot(match: re.Match[str]) -> str:
        article, name, position, field = match[2], match[4], int(match[5] or 1), int(match[6] or 0)
        entries = drawn.setdefault(name, [])
        while len(entries) < position:
            entries.append(dice.choice([entry for entry in _LISTS[name] if entry not in entries]))
        text = entries[position - 1][field]
        if article:
            text = f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
        return text[0].upper() + text[1:] if match[1] or match[3] else text

    while "[" in pattern:
        pattern = _CHOICE.sub(lambda match: dice.choice(match[1].split("|")), pattern)
    text = _SLOT.sub(fill_slot, _SUM.sub(fill_number, pattern))
    # "{task.1}" may open a text, and a choice may be empty before a capital.
    return text[0].upper() + text[1:]
