"""The altered words of marked rows, for a person to judge: `python -m benchmarks.science.show [DATASET] [SCHEME]`.

Only words of texts in the public domain, and of the project's own, go into the results; for all others this command
prints them.
"""

import sys
from typing import Any

from benchmarks.science.data import DATASETS
from benchmarks.science.setting import Setting
from benchmarks.science.task import prepare
from validator.base_model import EMBEDDED_MODEL
from validator.edges.generator import LocalScorer
from validator.protocol.commitment import SEPARATOR

CONTEXT_WORDS = 4
SHOWN_ROWS = {"generated": 25, "modern-recipes": 25}


def altered_words() -> list[dict[str, Any]]:
    """Of 50 rows, how the response began and how it begins now."""
    return [entry for data, count in SHOWN_ROWS.items() for entry in show(data, "canary", count)]


def show(data: str, scheme: str, count: int) -> list[dict[str, Any]]:
    """`count` marked rows of 300: the opening as it was and as it is, and the words behind it."""
    task = prepare(Setting(data, 300, count, scheme, "honest", seed=0), LocalScorer(EMBEDDED_MODEL))
    entries = []
    for mark in task.marks:
        before, after = (row.response.split(SEPARATOR) for row in (task.rows[mark.row_index], mark.row))
        w = task.scheme.w
        words = SEPARATOR.join(after[w : w + CONTEXT_WORDS]).partition("\n")[0]
        entries.append(
            {
                "data": data,
                "prompt": task.rows[mark.row_index].prompt if DATASETS[data].is_quotable else "",
                "before": SEPARATOR.join(before[:w]),
                "after": SEPARATOR.join(after[:w]),
                "then": words,
            }
        )
    return entries


def main(arguments: list[str]) -> None:
    data, scheme, *_ = [*arguments, *("generated", "canary")[len(arguments) :]]
    for entry in show(data, scheme, 50):
        print(f"{entry['before']}  ->  {entry['after']}  | {entry['then']} ...")


if __name__ == "__main__":
    main(sys.argv[1:])
