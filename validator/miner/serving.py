"""The model server in front of which this miner stands: making a model ready there, seeing that it is, asking it.

Rule kept: nothing that the server says is an answer while it is not seen to have the trained model. After any failure,
and after a minute's silence, it must be seen again: a server that was started anew has forgotten its adapters, and some
then answer by the base model.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from validator.edges.model_server import ModelServer
from validator.errors import BadInput, TouchstoneError, Transient
from validator.miner.hooks import Hook, HookFailed
from validator.miner.objects import JSON, Refusal
from validator.miner.served_check import NotServed, check_served, choose_rows
from validator.miner.settings import ServingSettings, fill
from validator.miner.telemetry import CHECKS_FAILED, COMMANDS_FAILED, MODEL_SERVER_ERRORS, PROBES_ANSWERED
from validator.protocol.commitment import Row

RETRY_S = 15.0
SEEN_S = 60.0
"""For how long after an answer the server is taken to be the same."""
PATIENCE_S = 20.0
"""How long a probe waits for a model that is being seen to: validators hang up after 30 s."""
COMMAND_S = 1800.0
"""How long making a model ready may take: a large one is read from disk, or a server started anew."""
LOOK_PROMPT, LOOK_TOKENS = "Count from one to ten.", 32
UNSTEADY = "the model server does not repeat itself at temperature 0, so probes may miss: docs/miner.md says why"
FEW_LEARNT = 0.75
"""Of the rows that were asked: with fewer, a task is more likely not paid than paid."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that is to answer; `values` are what words of a command may name."""

    name: str
    directory: Path
    values: dict[str, str]
    rows: Sequence[Row]
    w: int
    max_tokens: int


class Serving:
    """All trained models of one miner."""

    def __init__(self, settings: ServingSettings, server: ModelServer, variables: dict[str, str]) -> None:
        self._settings = settings
        self._server = server
        self._variables = variables
        self._models: dict[str, Trained] = {}
        self._ready: dict[str, asyncio.Task[None]] = {}
        self._seen_at: dict[str, float] = {}
        self._now_s = asyncio.get_running_loop().time

    async def look(self) -> None:
        """Say what is odd about the server before there is a task; it need not run yet."""
        try:
            if not await self.repeats_itself():
                log.warning(UNSTEADY)
        except (Transient, BadInput) as error:
            log.warning("the model server cannot be asked yet", reason=str(error))

    async def repeats_itself(self) -> bool:
        """Whether the untrained model gives one answer to one prompt; True where there is none to ask.

        Transient or BadInput where the server does not answer.
        """
        await self._server.models()
        model = self._settings.base_model
        if model is None:
            return True
        ask = partial(self._server.answer, model, LOOK_PROMPT, LOOK_TOKENS, self._settings.base_request)
        first, again = await ask(), await ask()
        return str(first["text"]) == str(again["text"])

    def serve(self, model: Trained) -> "asyncio.Task[None]":
        """Have it answer from now on; the task ends once it is seen to, and tries for as long."""
        self._models[model.name] = model
        return self._see_to(model, must_load=True)

    async def answer(self, name: str, prompt: str) -> JSON:
        """Refusal (503) where the model does not answer now."""
        model = self._models.get(name)
        if model is None:
            raise Refusal(503, "the model is not served", "unavailable")
        if self._now_s() > self._seen_at.get(name, 0.0) + SEEN_S:
            self._doubt(name)
        ready = self._see_to(model)
        await asyncio.wait([ready], timeout=PATIENCE_S)
        if not ready.done():
            raise Refusal(503, "the model is being made ready", "unavailable")
        ready.result()  # Seen to, and not only over.
        try:
            answer = await self._ask(model, prompt)
        except (Transient, BadInput) as error:
            MODEL_SERVER_ERRORS.inc()
            log.warning("the model server did not answer a probe", model=name, reason=str(error))
            self._doubt(name)
            self._see_to(model)
            raise Refusal(503, "the model does not answer at the moment", "unavailable") from error
        PROBES_ANSWERED.inc()
        self._seen_at[name] = self._now_s()
        return answer

    async def retire(self, name: str) -> None:
        """Let go of a model."""
        self._models.pop(name, None)
        if task := self._ready.pop(name, None):
            task.cancel()
        if self._settings.load == "vllm":
            with suppress(TouchstoneError):
                await self._server.unload_adapter(name)

    async def aclose(self) -> None:
        for task in self._ready.values():
            task.cancel()
        await asyncio.gather(*self._ready.values(), return_exceptions=True)

    def _doubt(self, name: str) -> None:
        if self._ready[name].done():
            del self._ready[name]

    def _see_to(self, model: Trained, *, must_load: bool = False) -> "asyncio.Task[None]":
        if model.name not in self._ready:
            self._ready[model.name] = asyncio.create_task(self._until_ready(model, must_load))
        return self._ready[model.name]

    async def _until_ready(self, model: Trained, must_load: bool) -> None:
        while True:
            try:
                if must_load:
                    await self._load(model)
                await self._check(model)
                self._seen_at[model.name] = self._now_s()
                return
            except NotServed as error:
                CHECKS_FAILED.inc()
                log.error("the server does not have the trained model", model=model.name, reason=str(error))
            except (TouchstoneError, OSError) as error:
                MODEL_SERVER_ERRORS.inc()
                log.warning("the trained model cannot be made ready", model=model.name, reason=str(error))
            if must_load:
                await asyncio.sleep(RETRY_S)
            must_load = True

    async def _load(self, model: Trained) -> None:
        if self._settings.load == "vllm":
            await self._server.load_adapter(model.name, str(model.directory))
        if self._settings.command is not None:
            command = fill(self._settings.command, model.values)
            try:
                await Hook("serving", command, model.directory.parent, self._variables).run(COMMAND_S)
            except HookFailed:
                COMMANDS_FAILED.labels("serving").inc()
                raise

    async def _check(self, model: Trained) -> None:
        async def ask(prompt: str) -> JSON:
            return await self._ask(model, prompt)

        async def ask_base(prompt: str) -> JSON:
            chosen = self._settings
            return await self._server.answer(str(chosen.base_model), prompt, model.max_tokens, chosen.base_request)

        rows = choose_rows(model.rows, self._settings.check_prompts)
        served = await check_served(rows, model.w, ask, ask_base if self._settings.base_model else None)
        log.info("the trained model answers", model=model.name, rows=served.asked, learnt=served.learnt)
        if served.unsteady:
            log.warning(UNSTEADY, model=model.name, rows=served.unsteady)
        if served.learnt < FEW_LEARNT * served.asked:
            log.warning(
                "the model gives few of its rows back: the task may not be paid",
                model=model.name,
                learnt=served.learnt,
                rows=served.asked,
            )

    async def _ask(self, model: Trained, prompt: str) -> JSON:
        name = self._settings.name_in_requests(model.name)
        return await self._server.answer(name, prompt, model.max_tokens, self._settings.request)
