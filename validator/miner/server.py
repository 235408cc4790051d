"""One miner's HTTP side: the OpenAI wire for files, fine-tuning jobs, models and completions, and the transcript.

Rule kept: the session token is checked before the route looks at a body, and everything that a handler touches
belongs to the validator that the token names.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from validator.errors import TouchstoneError, Transient
from validator.miner.backend import Backend, Handler, Step
from validator.miner.files import MAX_FILE_BYTES, FileStore
from validator.miner.gate import Gate
from validator.miner.job import make_job_id
from validator.miner.job_request import parse_hash, parse_job_request, to_hex
from validator.miner.jobs import JobBook
from validator.miner.objects import (
    Refusal,
    bad_request,
    conflict,
    make_completion,
    make_deleted_json,
    make_model_json,
    make_page,
    not_found,
    now_s,
)
from validator.miner.respondent import Respondent
from validator.miner.transcript import Notary, Signing
from validator.protocol.wire import parse_probe, strict_json
from validator.types import Address, TaskId

MAX_JSON_BYTES = 1024 * 1024
RECEIVE_GRACE_SECONDS = 30.0
MIN_RATE_BYTES_PER_S = 64 * 1024
OWNER: web.RequestKey[Address] = web.RequestKey("owner", Address)
log = logging.getLogger(__name__)

METADATA_FILTER = "metadata["


class MinerServer:
    """The routes of one miner."""

    def __init__(
        self,
        *,
        gate: Gate,
        files: FileStore,
        jobs: JobBook,
        respondent: Respondent,
        notary: Notary,
        backend: Backend,
        base_model: str,
    ) -> None:
        self._gate = gate
        self._files = files
        self._jobs = jobs
        self._respondent = respondent
        self._notary = notary
        self._backend = backend
        self._base_model = base_model
        self._base_model_json = make_model_json(base_model, now_s())

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_JSON_BYTES, middlewares=[self._speak_openai, self._check_session])
        jobs = "/v1/fine_tuning/jobs"
        for method, path, handler in (
            ("POST", "/v1/files", self._at(Step.RECEIVE, self._upload)),
            ("GET", "/v1/files", self._list_files),
            ("GET", "/v1/files/{file_id}", self._file),
            ("GET", "/v1/files/{file_id}/content", self._file_content),
            ("DELETE", "/v1/files/{file_id}", self._delete_file),
            ("POST", jobs, self._at(Step.RECEIVE, self._create_job)),
            ("GET", jobs, self._list_jobs),
            ("GET", f"{jobs}/{{job_id}}", self._job),
            ("POST", f"{jobs}/{{job_id}}/cancel", self._cancel_job),
            ("GET", f"{jobs}/{{job_id}}/events", self._list_events),
            ("GET", f"{jobs}/{{job_id}}/checkpoints", self._list_checkpoints),
            ("GET", "/v1/models", self._list_models),
            ("GET", "/v1/models/{model_id:.+}", self._model),
            ("DELETE", "/v1/models/{model_id:.+}", self._delete_model),
            ("POST", "/v1/chat/completions", self._at(Step.ANSWER, self._chat_completion)),
            ("POST", "/v1/completions", self._at(Step.ANSWER, self._completion)),
            ("POST", "/v1/touchstone/tasks/{task_id}/transcript", self._at(Step.SIGN, self._transcript)),
            ("GET", "/v1/touchstone/tasks/{task_id}/files/{name}", self._at(Step.RETURN, self._weights_file)),
            ("*", "/{path:.*}", self._nothing),
        ):
            app.router.add_route(method, path, handler, expect_handler=_ask_for_nothing)
        return app

    def _at(self, step: Step, honestly: Handler) -> Handler:
        """The handler as the backend has it."""

        async def respond(request: web.Request) -> web.StreamResponse:
            return await self._backend.respond(step, request, honestly)

        return respond

    @web.middleware
    async def _speak_openai(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whatever is refused, by us or by aiohttp, leaves as an OpenAI error body."""
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.as_response()
        except (web.RequestPayloadError, ConnectionError):
            raise  # there is nobody left to answer
        except Transient as error:
            log.info("%s %r: %s", request.method, request.path, error)
            return Refusal(503, "the chain cannot be read at the moment", "unavailable").as_response()
        except (TouchstoneError, OSError) as error:
            # Why is our own business: paths, and the host of our node.
            log.warning("%s %r: %s", request.method, request.path, error)
            return Refusal(500, "the miner cannot serve this", "internal_error").as_response()
        except web.HTTPException as error:
            return Refusal(error.status, error.reason, error.reason.lower().replace(" ", "_")).as_response()

    @web.middleware
    async def _check_session(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request[OWNER] = await self._gate.admit(request.headers.get("Authorization"))
        if "Expect" in request.headers:
            if request.headers["Expect"].lower() != "100-continue":
                raise Refusal(417, "only 100-continue can be expected", "expectation_failed")
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # no part of the answer
        return await handler(request)

    async def _nothing(self, request: web.Request) -> web.Response:
        raise not_found("path", request.path)

    async def _upload(self, request: web.Request) -> web.Response:
        async with _receiving(request, MAX_FILE_BYTES):
            stored = await self._files.receive(request, request[OWNER])
        return web.json_response(stored.as_json())

    async def _list_files(self, request: web.Request) -> web.Response:
        files = [stored.as_json() for stored in self._files.of(request[OWNER])]
        return web.json_response(make_page(files, request.query))

    async def _file(self, request: web.Request) -> web.Response:
        return web.json_response(self._files.get(request.match_info["file_id"], request[OWNER]).as_json())

    async def _file_content(self, request: web.Request) -> web.FileResponse:
        stored = self._files.get(request.match_info["file_id"], request[OWNER])
        return web.FileResponse(stored.path, headers={"Content-Type": "application/octet-stream"})

    async def _delete_file(self, request: web.Request) -> web.Response:
        file_id = request.match_info["file_id"]
        self._files.delete(file_id, request[OWNER])
        return web.json_response(make_deleted_json(file_id, "file"))

    async def _create_job(self, request: web.Request) -> web.Response:
        job_request = parse_job_request(await _read_json(request), self._base_model)
        return web.json_response(self._jobs.create(job_request, request[OWNER]).as_json())

    async def _list_jobs(self, request: web.Request) -> web.Response:
        wanted = {
            key.removeprefix(METADATA_FILTER).removesuffix("]"): value
            for key, value in request.query.items()
            if key.startswith(METADATA_FILTER)
        }
        jobs = [job for job in self._jobs.of(request[OWNER]) if wanted.items() <= dict(job.request.metadata).items()]
        return web.json_response(make_page([job.as_json() for job in jobs], request.query))

    async def _job(self, request: web.Request) -> web.Response:
        return web.json_response(self._jobs.get(request.match_info["job_id"], request[OWNER]).as_json())

    async def _cancel_job(self, request: web.Request) -> web.Response:
        # The real client says application/json and sends nothing: the body is not read.
        return web.json_response(self._jobs.cancel(request.match_info["job_id"], request[OWNER]).as_json())

    async def _list_events(self, request: web.Request) -> web.Response:
        job = self._jobs.get(request.match_info["job_id"], request[OWNER])
        return web.json_response(make_page(job.events(), request.query))

    async def _list_checkpoints(self, request: web.Request) -> web.Response:
        self._jobs.get(request.match_info["job_id"], request[OWNER])
        return web.json_response(make_page([], request.query))  # only the last weights are kept

    async def _list_models(self, request: web.Request) -> web.Response:
        own = [model.as_json() for model in self._jobs.models_of(request[OWNER])]
        return web.json_response({"object": "list", "data": [self._base_model_json, *own], "has_more": False})

    async def _model(self, request: web.Request) -> web.Response:
        model_id = unquote(request.match_info["model_id"])
        if model_id == self._base_model:
            return web.json_response(self._base_model_json)
        return web.json_response(self._jobs.of_model(model_id, request[OWNER]).as_json())

    async def _delete_model(self, request: web.Request) -> web.Response:
        model_id = unquote(request.match_info["model_id"])
        await self._jobs.delete_model(model_id, request[OWNER])
        return web.json_response(make_deleted_json(model_id, "model"))

    async def _chat_completion(self, request: web.Request) -> web.Response:
        return await self._answer_probe(request, is_chat=True)

    async def _completion(self, request: web.Request) -> web.Response:
        return await self._answer_probe(request, is_chat=False)

    async def _answer_probe(self, request: web.Request, *, is_chat: bool) -> web.Response:
        body = await _read_json(request)
        model_id = body.get("model")
        if not isinstance(model_id, str) or ("messages" if is_chat else "prompt") not in body:
            raise bad_request("exactly the fields of a probe are accepted")
        if model_id == self._base_model:
            raise bad_request("only fine-tuned models are served", "model")
        model = self._jobs.of_model(model_id, request[OWNER])
        try:
            _, prompt = parse_probe(body, model.terms.max_tokens)
        except ValueError as error:
            raise bad_request(str(error)) from error
        answer = await self._respondent.answer(model, prompt)
        return web.json_response(make_completion(model_id, answer, is_chat=is_chat))

    async def _transcript(self, request: web.Request) -> web.Response:
        task_id = TaskId(parse_hash(request.match_info["task_id"], "task_id"))
        job = self._jobs.get(make_job_id(request[OWNER], task_id), request[OWNER])
        body = await _read_json(request)
        if set(body) != {"prompt_hashes"} or not isinstance(body["prompt_hashes"], list):
            raise bad_request("exactly the list prompt_hashes is needed", "prompt_hashes")
        prompt_hashes = [parse_hash(text, "prompt_hashes") for text in body["prompt_hashes"]]
        if job.served is None:
            raise conflict(f"the job of task {to_hex(task_id)} is {job.status}: there is no model to answer for")
        return web.json_response(await self._backend.sign(Signing(self._notary, job.served, prompt_hashes)))

    async def _weights_file(self, request: web.Request) -> web.StreamResponse:
        job_id = make_job_id(request[OWNER], parse_hash(request.match_info["task_id"], "task_id"))
        return _TimedFile(self._jobs.weights_file(job_id, request.match_info["name"], request[OWNER]))


class _TimedFile(web.FileResponse):
    """A file, or the part of it that is asked for, to whoever takes it in time."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        size_bytes = self._path.stat().st_size
        try:
            async with asyncio.timeout(RECEIVE_GRACE_SECONDS + size_bytes / MIN_RATE_BYTES_PER_S):
                return await super().prepare(request)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the file was taken too slowly") from None


async def _ask_for_nothing(_request: web.Request) -> None:
    """Instead of aiohttp's `100 Continue`, which would ask strangers for their body."""


@asynccontextmanager
async def _receiving(request: web.Request, max_bytes: int) -> AsyncIterator[None]:
    """Refusal (408) if the body takes longer than its size at the minimum rate."""
    size_bytes = min(request.content_length or max_bytes, max_bytes)
    try:
        async with asyncio.timeout(RECEIVE_GRACE_SECONDS + size_bytes / MIN_RATE_BYTES_PER_S):
            yield
    except TimeoutError as error:
        raise Refusal(408, "the body comes too slowly", "request_timeout") from error


async def _read_json(request: web.Request) -> dict[str, Any]:
    try:
        async with _receiving(request, MAX_JSON_BYTES):
            content = await request.read()
        body = strict_json(content)
    except ValueError as error:
        raise bad_request(f"the body is {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    return body
