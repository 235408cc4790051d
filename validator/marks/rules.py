"""What of a customer's text may not be altered: the rules that a customer chooses, and their JSON form.

Rule kept: whether a rule applies depends on the text alone, never on how fast the machine is, since the same dataset
must always be marked alike. So a customer's patterns run on RE2, which needs no backtracking, line by line, and what
would still take long (many matches in one very long line) is refused by counting instead of by a clock.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

import re2

from validator.errors import BadInput
from validator.protocol.wire import strict_json

MAX_PATTERNS = 32
MAX_PATTERN_CHARACTERS = 500
MAX_PATTERN_BYTES = 8 << 20
"""What RE2 may take for one compiled pattern and its automaton."""
MAX_LINE_WORK = 1 << 26
"""Matches times characters of one line: the search for each match may read the whole line (0.1 s)."""


@dataclass(frozen=True, slots=True)
class AlterationRules:
    """What is never touched by a coverage mark; everything is on unless it is switched off.

    The openings of the few rows that are probed are redrawn whole, numbers and names included: only `patterns` bind
    them, and the rest if `openings` is set. Where few openings may be altered, those that may are looked at first.
    `names` are capitalised words inside sentences, `urls` e-mail addresses too, `formulae` LaTeX and `a = b + c`.
    `patterns` are regular expressions (RE2 syntax) for what is particular to one dataset, matched line by line.
    """

    numbers: bool = True
    code: bool = True
    names: bool = True
    json: bool = True
    urls: bool = True
    formulae: bool = True
    openings: bool = False
    patterns: tuple[str, ...] = ()

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if len(self.patterns) > MAX_PATTERNS:
            raise BadInput(f"{len(self.patterns)} patterns are too many: at most {MAX_PATTERNS}, joined with |")
        for pattern in self.patterns:
            _compile(pattern)

    @property
    def of_openings(self) -> "AlterationRules":
        """What binds the words in front of a probed row's response."""
        if self.openings:
            return self
        return AlterationRules(
            numbers=False, code=False, names=False, json=False, urls=False, formulae=False, patterns=self.patterns
        )

    def to_json(self) -> str:
        """Compact, keys sorted: the same rules always give the same text."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes) -> "AlterationRules":
        """What is not said stays on; BadInput with what is wrong."""
        known = [field.name for field in fields(cls)]
        try:
            body = strict_json(text)
        except ValueError as error:
            raise BadInput(f"the rules are {error}") from None
        if not isinstance(body, dict) or not body.keys() <= set(known):
            raise BadInput(f"the rules are a JSON object with some of {', '.join(known)}")
        patterns = body.pop("patterns", [])
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise BadInput("patterns is a list of regular expressions")
        wrong = [name for name, value in body.items() if not isinstance(value, bool)]
        if wrong:
            raise BadInput(f"{wrong[0]} is true or false")
        return cls(**body, patterns=tuple(patterns))

    def find_patterns(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the customer's patterns match; BadInput for one that matches too often in too long a line."""
        start = 0
        for line in text.split("\n") if self.patterns else ():
            for pattern in self.patterns:
                for number, match in enumerate(_compile(pattern).finditer(line), 1):
                    if number * len(line) > MAX_LINE_WORK:
                        raise BadInput(
                            f"{pattern!r} matches more than {number - 1} times in a line of {len(line)} characters: "
                            "break the line, or let the pattern match more at once (a+ in place of a)"
                        )
                    if match.end() > match.start():
                        yield start + match.start(), start + match.end()
            start += len(line) + 1


ALL_PROTECTED = AlterationRules()
"""Whatever a customer does not forbid beyond it, nor allow."""


@lru_cache(maxsize=4 * MAX_PATTERNS)
def _compile(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise BadInput(f"a pattern of {len(pattern)} characters is too long: at most {MAX_PATTERN_CHARACTERS}")
    options = re2.Options()
    options.log_errors, options.max_mem = False, MAX_PATTERN_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise BadInput(
            f"{pattern!r} is no regular expression of RE2 (no look-around, no back-reference): {reason}"
        ) from None
