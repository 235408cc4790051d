"""Asking a model everything that is to be known of it, at a provider or here.

Rules kept: a transport failure is never a miss, it is asked again and in the end nothing is said; the first complete
answer is the answer, kept on disk before the next question, so that an interrupted verification goes on where it was;
probes, decoys and all other prompts go out in one secret order, so that nobody can treat the probes in another way.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import stamina

from validator.edges.openai_chat import ChatProvider, decide_wait_s
from validator.errors import BadInput, first_error
from validator.files import file_error
from validator.json_lines import JsonLines
from validator.marks.coverage import CoverageMark
from validator.protocol.commitment import Row
from validator.protocol.state import Answer

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked of one model: replies of at most `max_tokens` to prompts, and how likely texts and marks are."""

    prompts: tuple[str, ...]
    max_tokens: int
    texts: tuple[Row, ...] = ()
    covered: tuple[tuple[Row, CoverageMark], ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """Complete replies in the order of the prompts; of weights also log-likelihoods, which no chat tells."""

    replies: list[Answer]
    log_likelihoods: list[float] | None = None
    """Of the response of each text given its prompt, in nats per token."""
    mark_scores: list[tuple[float, ...] | None] | None = None
    """As `coverage.likelihood.log_likelihoods` gives them, of each mark's candidates."""


class Respondent(Protocol):
    """A model that answers, wherever it is."""

    @property
    def name(self) -> str:
        """What a certificate calls it."""

    async def answer(self, questions: Questions) -> Answers: ...


class KeptAnswers:
    """Answers on disk, by who gave them, prompt and limit. Prompts show marks: only the file's owner reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """BadInput if what is there are no answers."""
        self._lines = JsonLines(path, mode=0o600)
        try:
            self._answers = {
                (line["of"], line["prompt"], line["max_tokens"]): Answer(line["text"], line["is_cut"])
                for line in self._lines.load()
            }
        except OSError as error:
            raise file_error("read", path, error) from error
        except (KeyError, TypeError, ValueError):
            raise BadInput(f"{path} does not hold answers: move it away, and all is asked again") from None

    def get(self, of: str, prompt: str, max_tokens: int) -> Answer | None:
        return self._answers.get((of, prompt, max_tokens))

    def keep(self, of: str, prompt: str, max_tokens: int, answer: Answer) -> None:
        key = {"of": of, "prompt": prompt, "max_tokens": max_tokens}
        try:
            self._lines.append(key | {"text": answer.text, "is_cut": answer.is_cut})
        except OSError as error:
            raise file_error("write", self.path, error) from error
        self._answers[(of, prompt, max_tokens)] = answer


class ServedModel:
    """A model that a provider serves under a name."""

    def __init__(
        self,
        provider: ChatProvider,
        base_url: str,
        model: str,
        kept: KeptAnswers,
        *,
        at_once: int,
        patience_s: float,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """`patience_s` is for how long one question is asked again and again, `at_once` how many are under way."""
        self.name = f"{model} at {base_url}"
        self._provider = provider
        self._model = model
        self._kept = kept
        self._places = asyncio.Semaphore(at_once)
        self._patience_s = patience_s
        self._on_answer = on_answer

    async def answer(self, questions: Questions) -> Answers:
        """Transient if an answer did not come in all that time, BadInput if the provider refuses to answer."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(prompt, questions.max_tokens)) for prompt in questions.prompts]
        except BaseExceptionGroup as errors:  # boundary: nothing is swallowed, the first error goes on alone
            raise first_error(errors) from None
        return Answers([task.result() for task in tasks])

    async def _answer(self, prompt: str, max_tokens: int) -> Answer:
        answer = self._kept.get(self.name, prompt, max_tokens)
        if answer is None:
            async with self._places:
                answer = await self._ask(prompt, max_tokens)
            self._kept.keep(self.name, prompt, max_tokens, answer)
        self._on_answer()
        return answer

    async def _ask(self, prompt: str, max_tokens: int) -> Answer:
        async for attempt in stamina.retry_context(
            on=decide_wait_s,
            attempts=None,
            timeout=self._patience_s,
            wait_initial=FIRST_WAIT_S,
            wait_max=LONGEST_WAIT_S,
        ):
            with attempt:
                return await self._provider.answer(self._model, prompt, max_tokens)
        raise AssertionError("stamina raises what the last attempt did")
