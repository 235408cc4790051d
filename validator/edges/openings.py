"""Whole openings from a capable language model behind an OpenAI-compatible URL (protocol, "Marks").

Rule kept: what the model says is only a proposal. An opening counts if it has the words and the shape that the draw
needs, the model is asked again for as many as are missing, and what it still lacks then is said with the way out.
Proposals are kept as the candidates of the planting, which is reused byte for byte: a model that answers otherwise the
next time changes nothing.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import stamina

from validator.edges.openai_chat import ChatProvider, decide_wait_s
from validator.errors import BadInput, first_error
from validator.marks.openings import choose_openings
from validator.protocol.commitment import Row, split_head
from validator.protocol.wire import strict_json

ROUNDS = 4
"""How often one row is asked for, each time for what is still missing."""
AT_ONCE = 4
PATIENCE_S = 900.0
"""For how long a server that is busy or away is asked again for one answer."""
PROMPT_CHARACTERS, TAIL_CHARACTERS = 4_000, 600
"""What the model reads of a row: the end of the prompt, and how the answer goes on."""
TOKENS_PER_WORD = 8

QUESTION = """\
Below are a question and the start of its answer. Write {count} other openings of this answer.

- Each opening has exactly {w} words, separated by single spaces. It replaces the words "{head}".
- What follows in the answer stays as it is and must read on naturally after each opening.
- No two openings are alike. Use no names and no numbers. Begin each with {kind}.
{others}
Reply with a JSON list of {count} strings and nothing else.

Question:
{prompt}

The answer goes on after its opening with:
{tail}
"""


@dataclass(frozen=True, slots=True)
class ChatOpenings:
    """An OpeningProposer; `base_url` usually ends in /v1. It holds no connection, so it can go to another process.

    Its rows are shown to whoever runs that server.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    patience_s: float = PATIENCE_S

    @property
    def identity(self) -> str:
        return self.model

    def propose(self, rows: Sequence[Row], w: int, k: int) -> list[tuple[str, ...]]:
        """At least k openings for each row; BadInput if the model cannot, or if the server refuses to be asked."""
        return asyncio.run(self._propose(rows, w, k))

    async def _propose(self, rows: Sequence[Row], w: int, k: int) -> list[tuple[str, ...]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def propose(row: Row) -> tuple[str, ...]:
            async with places:
                return await self._propose_for(provider, row, w, k)

        async with ChatProvider(self.base_url, self.api_key) as provider:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(propose(row)) for row in rows]
            except BaseExceptionGroup as errors:  # boundary: nothing is swallowed, the first error goes on alone
                raise first_error(errors) from None
        return [task.result() for task in tasks]

    async def _propose_for(self, provider: ChatProvider, row: Row, w: int, k: int) -> tuple[str, ...]:
        found: tuple[str, ...] = ()
        for _round in range(ROUNDS):
            question, count = _ask_for(row, w, k, found)
            reply = await self._ask(provider, question, count * (w + 2) * TOKENS_PER_WORD)
            found = choose_openings([*found, *_read_list(reply)], row.response, w)
            if len(found) >= k:
                return found
        raise BadInput(
            f"{self.model} proposed {len(found)} usable openings of {w} words for a row in {ROUNDS} rounds, {k} are "
            "needed: name a more capable model (generator.openings_model), or take the scheme canary"
        )

    async def _ask(self, provider: ChatProvider, question: str, max_tokens: int) -> str:
        async for attempt in stamina.retry_context(
            on=decide_wait_s, attempts=None, timeout=self.patience_s, wait_max=60.0
        ):
            with attempt:
                return (await provider.answer(self.model, question, max_tokens)).text
        raise AssertionError("stamina raises what the last attempt did")


def _ask_for(row: Row, w: int, k: int, found: Sequence[str]) -> tuple[str, int]:
    """The question, and how many openings it asks for: half as many again as are missing."""
    count = (k - len(found)) * 3 // 2 + 1
    head, tail = split_head(row.response, w)
    question = QUESTION.format(
        count=count,
        w=w,
        head=head,
        kind="a capital letter" if head[:1].isupper() else "a small letter" if head[:1].islower() else f"“{head[:1]}”",
        others=f"- None of these: {json.dumps(found, ensure_ascii=False)}" if found else "",
        prompt=row.prompt[-PROMPT_CHARACTERS:],
        tail=tail[:TAIL_CHARACTERS],
    )
    return question, count


def _read_list(reply: str) -> list[str]:
    """The strings of the JSON list in a reply, whatever stands around it; none if there is no such list."""
    start, end = reply.find("["), reply.rfind("]")
    try:
        found = strict_json(reply[start : end + 1].encode())
    except ValueError:
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
