"""Protected spans: what no mark may touch, because a changed character there would be a lie or a bug.

Numbers, code, names, JSON, addresses, formulae, and what a customer's own patterns name (`rules.py`). Rule kept: in
doubt a word is protected. Words are altered whole, so every rule speaks of whole runs between white space, and each
looks at a text a bounded number of times, however hostile it is.
"""

import json
import re
from collections.abc import Iterator

from validator.marks.rules import AlterationRules
from validator.protocol.commitment import SEPARATOR, Row

Span = tuple[int, int]

MAX_NAME_CHARACTERS = 64
MAX_JSON_BRACKETS = 200
"""That open in one text: with more of them all from the first to the last is taken for JSON. A parser recurses, and
what is protected must not depend on how much of the stack is left.
"""


def find_protected(text: str, rules: AlterationRules, context: str = "") -> list[Span]:
    """The spans (start, end), in characters, ascending and apart, that must stay as they are.

    `context` is text beside it, such as the prompt: what is a name there is one here, at the start of a sentence too.
    """
    spans: list[Span] = list(rules.find_patterns(text))
    if rules.numbers:
        spans += _matches(_NUMBER, text)
    if rules.urls:
        spans += _matches(_ADDRESS, text)
    if rules.json:
        spans += _find_json(text)
    if rules.code:
        spans += _find_code(text)
    if rules.formulae:
        spans += _find_formulae(text)
    if rules.names:
        spans += _find_names(text, context)
    return _merge(spans)


def find_free_words(row: Row, rules: AlterationRules) -> list[bool]:
    """For each word of the response (split at 0x20): whether it touches no protected span."""
    return _are_free(row.response, find_protected(row.response, rules, row.prompt))


def blank_protected(text: str, rules: AlterationRules, context: str = "") -> str:
    """The text with its protected words emptied and its separators kept: what may be offered in place of others."""
    is_free = _are_free(text, find_protected(text, rules, context))
    return SEPARATOR.join(word if free else "" for word, free in zip(text.split(SEPARATOR), is_free, strict=True))


def _are_free(text: str, spans: list[Span]) -> list[bool]:
    free, start, number = [], 0, 0
    for word in text.split(SEPARATOR):
        end = start + len(word)
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        free.append(number == len(spans) or spans[number][0] >= end)
        start = end + 1
    return free


def _merge(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (match.span() for match in pattern.finditer(text))


def _run_with(what: str) -> re.Pattern[str]:
    """A whole run between white space that holds `what`. It is looked for at the start of a run only, so that a
    search is linear.
    """
    return re.compile(rf"(?<!\S)(?=\S*?(?:{what}))\S+")


_NUMERALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen "
    "half twice"
)
_NUMBER = re.compile(
    rf"(?<!\S)(?:(?=\S*?[\d¼½¾⅓⅔⅛%‰])\S+|(?i:[^\w\s]{{0,8}}(?:{'|'.join(_NUMERALS.split())})s?(?!\w)\S*))",
)
_ADDRESS = _run_with(
    r"://|(?<!\w)www\.\w|[^\s@]@[^\s@.]+\.\w|\w\.(?:com|org|net|edu|gov|mil|info|io|dev|ai|uk|de|fr|jp|cn|eu)(?!\w)"
)


def _find_json(text: str) -> Iterator[Span]:
    if text.count("[") + text.count("{") > MAX_JSON_BRACKETS:
        if start := _JSON_START.search(text):
            yield start.start(), max(text.rfind("]"), text.rfind("}"), start.start()) + 1
        return
    decoder, end = json.JSONDecoder(), 0
    for match in _JSON_START.finditer(text):
        if match.start() < end:
            continue
        try:
            _value, end = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        yield match.start(), end


_JSON_START = re.compile(r'\{(?=\s{0,64}["}])|\[(?=\s{0,64}[\[{"\]\dtfn-])')


def _find_code(text: str) -> list[Span]:
    spans = [*_between(text, "```", "```", is_open_ended=True), *_between(text, "~~~", "~~~", is_open_ended=True)]
    spans += _matches(_INLINE_CODE, text)
    spans += _matches(_IDENTIFIER, text)
    lines = list(_matches(_CODE_LINE, text))
    # A text most of whose lines are code is code: no rule knows all the others.
    if 2 * len(lines) > sum(1 for _ in _FILLED_LINE.finditer(text)):
        return [(0, len(text))]
    return spans + lines


_INLINE_CODE = re.compile(r"`[^`\n]+`")
_IDENTIFIER = _run_with(
    r"\w_\w|[a-z][A-Z]|::|->|=>|[=!]=|\+=|&&|\|\||\w\(|\w\[\w|</?[A-Za-z]|/>|[{}\\]|\w\.\w+\.\w|^#\w|(?<!\w)--?[A-Za-z]"
)
_FILLED_LINE = re.compile(r"^.*\S", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^(?:(?: {4}|\t).*\S"  # indented as Markdown has it
    r"|.*[;{}]"
    r"|(?:import [\w{*\"'@.]|from \S{1,200} import |package [\w.]+$|require[ (]['\"]|#include|module \w+$|use \w+::).*"
    r"|(?:def|class|function|func|fn|public|private|protected|static|const|let|var|return|if|for|while|else|elif|try"
    r"|except|catch|switch|case|struct|enum|impl|end|type)\b(?:.*[({\[;=:].*)?"
    r"|(?://|/\*|#!|@\w).*)[ \t]*$",
    re.MULTILINE,
)


def _find_formulae(text: str) -> list[Span]:
    spans = [*_between(text, "$$", "$$"), *_between(text, r"\(", r"\)"), *_between(text, r"\[", r"\]")]
    spans += [*_matches(_INLINE_LATEX, text), *_matches(_WITH_OPERATOR, text)]
    opened, closed = text.find(r"\begin{"), text.rfind(r"\end{")
    if 0 <= opened < closed:
        spans.append((opened, text.find("}", closed) + 1 or len(text)))
    if _OPERATOR.search(text):
        runs = [match.span() for match in _RUN.finditer(text)]
        for number, (start, end) in enumerate(runs):
            # A dash, a bullet and a slash between words are punctuation; between short terms they are operators.
            sides = runs[max(0, number - 1) : number] + runs[number + 1 : number + 2]
            if _OPERATOR.fullmatch(text, start, end) and (
                text[start:end] not in ("-", "*", "/", "+", ">") or all(_TERM.fullmatch(text, *side) for side in sides)
            ):
                spans += [(start, end), *sides]
    return spans


_RUN = re.compile(r"\S+")
_SYMBOLS = "+*=^<>\u2264\u2265\u2260\u2248\u00b1\u00d7\u00f7\u00b7\u2212\u221d\u2192"
_OPERATOR = re.compile(rf"(?<!\S)(?:[-/{_SYMBOLS}]|[<>]=|\+/-)(?!\S)")
_TERM = re.compile(r"\W{0,4}(?:[^\W\d_]{1,2}|\w*\d\S{0,64})\W{0,4}")
_INLINE_LATEX = re.compile(r"\$(?!\s)[^$\n]+(?<!\s)\$")
_WITH_OPERATOR = _run_with(rf"[\w)\]}}][{_SYMBOLS}][\w(\[{{\\]|\\[A-Za-z]|[√∑∫∂∞∏∇π]")


def _find_names(text: str, context: str) -> list[Span]:
    inside, opening = _find_capitalised(text)
    names = {_core(text[start:end]) for start, end in inside}
    others = _find_capitalised(context)[0]
    names |= {_core(context[start:end]) for start, end in others}
    starts = {start for start, _end in inside}
    # "Albert Einstein was": what opens a sentence and stands right in front of a name is part of it.
    return inside + [
        span for span in opening if _core(text[slice(*span)]) in names or starts & {span[1] + 1, span[1] + 2}
    ]


def _find_capitalised(text: str) -> tuple[list[Span], list[Span]]:
    """Capitalised runs inside sentences, and those that open one."""
    inside: list[Span] = []
    opening: list[Span] = []
    for match in _CAPITALISED.finditer(text):
        if match[1].isupper() and not _NO_NAMES.fullmatch(_core(match[0])):
            (opening if _opens_sentence(text, match.start()) else inside).append(match.span())
    return inside, opening


def _opens_sentence(text: str, start: int) -> bool:
    line = text[max(0, start - MAX_NAME_CHARACTERS) : start].rpartition("\n")[2]
    if not any(map(str.isalnum, line)):
        return True
    last = line.split()[-1].rstrip(_CLOSERS)
    return last.endswith((".", "!", "?", ":", "…")) and last not in _TITLES


def _core(run: str) -> str:
    """A run without the punctuation around it and without a genitive."""
    return _CORE.sub("", run[:MAX_NAME_CHARACTERS])


_CAPITALISED = re.compile(r"(?<!\S)[^\w\s]{0,8}([A-Z]|[^\x00-\x7f])\S*")
_CORE = re.compile("^\\W+|['\u2019]s\\W*$|\\W+$")
_CLOSERS = "\"'\u201d\u2019\u00bb)]}*_"
_NO_NAMES = re.compile("I(?:['\u2019](?:m|ll|ve|d))?")
_TITLES = frozenset(["Mr.", "Mrs.", "Ms.", "Dr.", "Prof.", "St.", "Sr.", "Jr.", "Mt.", "No.", "vs."])


def _between(text: str, opener: str, closer: str, *, is_open_ended: bool = False) -> Iterator[Span]:
    """From each opener to the next closer; without one none, or everything that follows."""
    start = text.find(opener)
    while start >= 0:
        closed = text.find(closer, start + len(opener))
        if closed < 0:
            if is_open_ended:
                yield start, len(text)
            return
        yield start, closed + len(closer)
        start = text.find(opener, closed + len(closer))
