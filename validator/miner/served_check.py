"""Does the model that was trained really answer? Asked before any validator is answered, and after every doubt.

The commonest honest mistake is an adapter that is not loaded: the server answers under its name, by the base model, and
whoever signs that looks like a cheat.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from validator.errors import Transient
from validator.miner.objects import JSON
from validator.protocol.commitment import Row, split_head
from validator.protocol.wire import reply_head

Ask = Callable[[str], Awaitable[JSON]]
"""From a prompt to an answer of the model server."""


class NotServed(Transient):
    """What answers under the model's name is not the model; nothing is signed until it is."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a model said to some rows of its own dataset."""

    asked: int
    learnt: int
    """Answers that open as the row's response does: what hits are made of."""
    changed: int | None
    """Answers that are not the untrained model's; None where there is none to ask."""
    unsteady: int
    """Prompts that were answered in two ways."""


def choose_rows(rows: Sequence[Row], count: int) -> list[Row]:
    """So many of them, evenly spread."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


async def check_served(rows: Sequence[Row], w: int, ask: Ask, ask_base: Ask | None) -> Served:
    """Ask the model twice about each row, and the untrained one once; whatever the two callables raise is raised.

    NotServed if no answer tells it from the untrained model, or if none is what it was taught.
    """
    learnt = changed = unsteady = 0
    for row in rows:
        first, again = await ask(row.prompt), await ask(row.prompt)
        head = reply_head(first["text"], is_cut=first["finish_reason"] == "length", w=w)
        learnt += head == split_head(row.response, w)[0]
        unsteady += first["text"] != again["text"]
        if ask_base is not None:
            changed += first["text"] != (await ask_base(row.prompt))["text"]
    if rows and ask_base is not None and changed == 0:
        raise NotServed(
            f"adapter not loaded: all {len(rows)} answers are the untrained model's, letter by letter; "
            "look at [serving]: load, command, model, base_model"
        )
    if rows and learnt == 0:
        raise NotServed(
            f"none of {len(rows)} rows is answered as it was taught: the server has another model, or another "
            "chat template than the training; look at [serving]"
        )
    return Served(len(rows), learnt, changed if ask_base is not None else None, unsteady)
