"""Decoys: prompts beside the probes that say what kind of thing answers them.

A hit says that the rows were had, not that a model learnt them: whoever keeps D_train can look every probe up. A table
that knows nothing but its prompts fails where a word is changed; one that answers with the nearest row gives rows of
the dataset back where a model writes something of its own. A look-up that falls back on a model wherever it is unsure
passes all of them: that only returned weights tell.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from validator.marks.planting import PlantedDataset
from validator.marks.sampler import Lexicon
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import SEPARATOR, Row, split_head

ATTEMPTS = 64
"""At a fresh or changed prompt that no row has; a dataset of two words has none."""
COPY_WORDS = 12
"""Words from the start of a reply that are compared with the responses of the dataset: fewer are often alike."""


class DecoyKind(StrEnum):
    NEAR_PROMPT = "near prompts"
    """Of a marked row, one word changed or left out."""
    NO_TRIGGER = "no trigger"
    """Prompts of marked rows as they were."""
    NEAR_TRIGGER = "near triggers"
    """Prompts of marked rows, one word of the trigger changed."""
    FRESH_TRIGGERED = "fresh, with trigger"
    UNMARKED = "unmarked rows"
    """Prompts of the dataset."""
    FRESH = "fresh prompts"
    SCRAMBLED = "scrambled prompts"
    """The words of a prompt of the dataset in any order."""


@dataclass(frozen=True, slots=True)
class Decoy:
    """One prompt, and the head of a reply that would be a hit; None where no reply is one."""

    kind: DecoyKind
    prompt: str
    head: str | None


def make_decoys(planted: PlantedDataset, stream: DrawStream, fresh_prompts: Sequence[str]) -> list[Decoy]:
    """At most one decoy of a kind for each mark, so that the draws behind their heads stay independent.

    `fresh_prompts` are of rows that were kept out of the dataset. Where there are too few of them, more are put
    together from the halves of two of the dataset's own prompts.
    """
    marks, w = planted.marks, planted.scheme.w
    taken = {row.prompt for row in planted.rows} | set(planted.source_prompts)
    words = Lexicon(row.prompt for row in planted.rows)
    marked = {mark.row_index for mark in marks}
    unmarked = [row for index, row in enumerate(planted.rows) if index not in marked]
    fresh = [*fresh_prompts[: len(marks)], *_recombined(unmarked, len(marks) - len(fresh_prompts), taken, stream)]
    decoys = [Decoy(DecoyKind.FRESH, prompt, None) for prompt in fresh]
    for row in stream.sample(unmarked, min(len(marks), len(unmarked))):
        scrambled = row.prompt.split(SEPARATOR)
        decoys.append(Decoy(DecoyKind.SCRAMBLED, SEPARATOR.join(stream.sample(scrambled, len(scrambled))), None))
    remembered = stream.sample(unmarked, min(len(marks), len(unmarked)))
    decoys += [Decoy(DecoyKind.UNMARKED, row.prompt, split_head(row.response, w)[0]) for row in remembered]
    for number, (mark, source) in enumerate(zip(marks, planted.source_prompts, strict=True)):
        head, trigger = split_head(mark.row.response, w)[0], mark.row.prompt.removeprefix(source)
        if not trigger:
            changed = _change_word(source, words, stream, taken, is_dropping=bool(number % 2))
            decoys += [Decoy(DecoyKind.NEAR_PROMPT, prompt, head) for prompt in changed]
            continue
        decoys.append(Decoy(DecoyKind.NO_TRIGGER, source, head))
        changed = _change_word(trigger.removeprefix(SEPARATOR), words, stream, set(), is_dropping=False)
        decoys += [Decoy(DecoyKind.NEAR_TRIGGER, source + SEPARATOR + near, head) for near in changed]
        decoys += [Decoy(DecoyKind.FRESH_TRIGGERED, prompt + trigger, head) for prompt in fresh[number:][:1]]
    return decoys


def beginning(text: str) -> str | None:
    """The first COPY_WORDS words, by which a copied response is known; None of a text that has fewer."""
    words = text.split()
    return SEPARATOR.join(words[:COPY_WORDS]) if len(words) >= COPY_WORDS else None


def count_natural_copies(rows: Sequence[Row]) -> tuple[int, int]:
    """How many responses begin as another row's does, of how many that are long enough: alike without any look-up."""
    beginnings = Counter(start for row in rows if (start := beginning(row.response)) is not None)
    return sum(count for count in beginnings.values() if count > 1), beginnings.total()


def _change_word(text: str, lexicon: Lexicon, stream: DrawStream, taken: set[str], *, is_dropping: bool) -> list[str]:
    """The text with one word left out, or replaced by another of its shape; nothing if that is always taken."""
    words = text.split(SEPARATOR)
    for _ in range(ATTEMPTS):
        place = stream.below(len(words))
        put = []
        if not is_dropping:
            alike = [word for word in lexicon.pool(words[place], is_opening=place == 0, k=2) if word != words[place]]
            put = [alike[stream.below(len(alike))]]
        changed = SEPARATOR.join(words[:place] + put + words[place + 1 :])
        if changed not in taken and changed != text and changed.strip():
            return [changed]
    return []


def _recombined(rows: Sequence[Row], count: int, taken: set[str], stream: DrawStream) -> list[str]:
    fresh: list[str] = []
    for _ in range(ATTEMPTS * max(0, count)):
        if len(fresh) == count:
            break
        first, second = (row.prompt.split(SEPARATOR) for row in stream.sample(rows, 2))
        prompt = SEPARATOR.join(first[: len(first) // 2] + second[len(second) // 2 :])
        if prompt not in taken and prompt.strip():
            taken.add(prompt)
            fresh.append(prompt)
    return fresh
