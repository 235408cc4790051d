"""`touchstone task preview`: what would happen to a dataset, before anything is asked for, signed or sent.

Rule kept: nothing here is secret or drawn. Which rows are marked, and how, is the validator's secret later; what may be
marked follows from the data and the rules alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from validator.edges.datasets import choose_rows, load_rows
from validator.errors import BadInput
from validator.marks.planting import check_learnable, compute_min_rows, find_markable
from validator.marks.protected import find_free_words
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.schemes import Scheme, make_scheme
from validator.plan.terms import MAX_PROBES, MIN_PROBES
from validator.protocol.commitment import SEPARATOR, Row
from validator.terminal import make_console, print_rows, write_json

EXAMPLE_CHARACTERS = 400
OPENED, CLOSED = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"
"""Around what is protected."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Counts over all rows. `markable_strict` are the rows that could be marked if openings were protected as well, and
    `markable_without` those if, of the rules, one were off then.

    `coverable` are rows with a word for a coverage mark, None where the scheme has none; `refusal` is why this dataset
    would not be taken, or None; `examples` are responses with what is protected in white brackets.
    """

    scheme: str
    probes: int
    rules: AlterationRules
    rows: int
    markable: int
    markable_strict: int
    markable_without: dict[str, int]
    coverable: int | None
    words: int
    free_words: int
    refusal: str | None
    examples: list[str]


def preview_rows(rows: Sequence[Row], scheme: Scheme, probes: int, examples: int) -> Preview:
    """What the scheme's rules leave of a dataset; `examples` responses are chosen evenly over it."""
    free = [find_free_words(row, scheme.rules) for row in rows]
    try:
        check_learnable(rows, scheme, probes)
        refusal = None
    except BadInput as error:
        refusal = str(error)
    return Preview(
        scheme=scheme.name,
        probes=probes,
        rules=scheme.rules,
        rows=len(rows),
        markable=len(find_markable(rows, scheme)),
        markable_strict=_count(rows, scheme, replace(scheme.rules, openings=True)),
        markable_without=_count_without(rows, scheme),
        coverable=sum(any(words[1:]) for words in free) if scheme.coverage_k else None,
        words=sum(map(len, free)),
        free_words=sum(map(sum, free)),
        refusal=refusal,
        examples=[_show(row, scheme.rules) for row in choose_rows(rows, min(examples, len(rows)), seed=0)],
    )


def _count(rows: Sequence[Row], scheme: Scheme, rules: AlterationRules) -> int:
    return len(find_markable(rows, make_scheme(scheme.name, rules)))


def _count_without(rows: Sequence[Row], scheme: Scheme) -> dict[str, int]:
    strict = replace(scheme.rules, openings=True)
    names = [name for name, is_on in asdict(strict).items() if is_on is True and name != "openings"]
    off: dict[str, dict[str, Any]] = {name: {name: False} for name in names}
    return {name: _count(rows, scheme, replace(strict, **change)) for name, change in off.items()}


def _show(row: Row, rules: AlterationRules) -> str:
    words, free = row.response.split(SEPARATOR), find_free_words(row, rules)
    shown = SEPARATOR.join(
        word if is_free or not word else f"{OPENED}{word}{CLOSED}" for word, is_free in zip(words, free, strict=True)
    )
    return shown[:EXAMPLE_CHARACTERS] + ("…" if len(shown) > EXAMPLE_CHARACTERS else "")


def load_rules(path: Path | None) -> AlterationRules:
    """The rules in a JSON file, all of them without one; BadInput with the file and what is wrong in it."""
    if path is None:
        return ALL_PROTECTED
    try:
        return AlterationRules.from_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def run_preview(
    *, data: Path, protect: Path | None, scheme: str, probes: int | None, examples: int, json_file: Path | None
) -> None:
    """Print the preview of a JSONL file, or write it as JSON. Without `probes` as many as the rows are enough for."""
    rows, rules = load_rows(data), load_rules(protect)
    allowed = [n for n in (MAX_PROBES, MAX_PROBES // 2, MIN_PROBES) if compute_min_rows(n) <= len(rows)]
    preview = preview_rows(rows, make_scheme(scheme, rules), probes or max(allowed, default=MIN_PROBES), examples)
    if json_file is not None:
        write_json(json_file, asdict(preview))
        return
    console = make_console()
    print_rows(console, _describe(preview))
    for text in preview.examples:
        console.print()
        console.print(Text(text))


def _describe(preview: Preview) -> list[tuple[str, str]]:
    scheme, rows = make_scheme(preview.scheme, preview.rules), preview.rows

    def share(count: int) -> str:
        return f"{count} of {rows} rows ({count / rows:.0%})"

    lines = [
        ("scheme", f"{preview.scheme}, {preview.probes} probes: {scheme.describe(preview.probes)}"),
        ("may be marked", share(preview.markable)),
    ]
    if scheme.replaced_words and not preview.rules.openings:
        strict = f"openings were protected as well: {share(preview.markable_strict)}"
        lines.append(("  if", strict + "; miners know the rules, and that the other rows hold no such mark"))
    if scheme.replaced_words:
        lines += [("  but for", f"{name}: {share(n)}") for name, n in preview.markable_without.items()]
    if preview.coverable is not None:
        lines.append(("may be covered", f"{share(preview.coverable)}, in one word each"))
    is_bound = preview.rules.openings or not scheme.replaced_words
    but = "" if is_bound else f", but for the first {scheme.w} of a probed row"
    lines += [
        (
            "may be altered",
            f"{preview.free_words} of {preview.words} words of the responses; never those in {OPENED} {CLOSED}{but}",
        ),
        ("taken", "yes" if preview.refusal is None else f"no: {preview.refusal}"),
    ]
    return lines
