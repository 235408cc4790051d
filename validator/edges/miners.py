"""A miner as the validator sees it: an OpenAI-compatible server behind a session token, and one path of our own.

Rule kept: nothing that a miner says is believed before it has the protocol's form; what is not, is a MinerFault.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from validator.edges.http import MinerSession, quote_stranger
from validator.edges.keys import Signer
from validator.errors import MinerFault
from validator.files import PartialFile
from validator.protocol import typed_data
from validator.protocol.session import SessionToken
from validator.protocol.state import Answer
from validator.protocol.wire import build_probe, parse_completion
from validator.types import Address, Hash32, TaskId, UnixSeconds

SESSION_LIFETIME_S = 900
MAX_MODEL_NAME_LENGTH = 256
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Of files and jobs: what becomes part of a path, or of an error, as it stands."""


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning job as the miner reports it."""

    job_id: str
    status: str
    fine_tuned_model: str | None
    error: str | None


class MinerClient:
    """One miner behind one session. `domain` is the EIP-712 domain of the contract that both are registered with."""

    def __init__(self, session: MinerSession, miner: Address, signer: Signer, domain: dict[str, Any]) -> None:
        self._http = session
        self._miner = miner
        self._signer = signer
        self._domain = domain
        self._token = ""
        self._token_expiry_s = 0.0
        self._renewal = asyncio.Lock()

    async def upload(self, training_file: bytes) -> str:
        """Upload D_train; the file's id."""
        form = {"purpose": "fine-tune", "file": ("train.jsonl", training_file)}
        return _identifier(await self._request("POST", "/files", form=form))

    async def create_job(self, file_id: str, base_model: str, metadata: dict[str, str]) -> str:
        """Start fine-tuning; the job's id. The same `task_id` in the metadata always gives the same job."""
        body = {"model": base_model, "training_file": file_id, "metadata": metadata}
        return _identifier(await self._request("POST", "/fine_tuning/jobs", json=body))

    async def job(self, job_id: str) -> Job:
        body = await self._request("GET", f"/fine_tuning/jobs/{job_id}")
        error = body.get("error")
        model = None if body.get("fine_tuned_model") is None else _model_name(body)
        reason = quote_stranger(str(error.get("message"))) if isinstance(error, dict) else None
        return Job(job_id, quote_stranger(_text(body, "status")), model, reason)

    async def latest_metrics(self, job_id: str) -> dict[str, Any]:
        """The newest {step, steps, train_loss} event of a job; empty if there is none. For display only."""
        page = await self._request("GET", f"/fine_tuning/jobs/{job_id}/events?limit=1")
        events = page.get("data")
        newest = events[0] if isinstance(events, list) and events else {}
        data = newest.get("data") if isinstance(newest, dict) else None
        return data if isinstance(data, dict) else {}

    async def probe(self, model_id: str, prompt: str, max_tokens: int) -> Answer:
        """One probe. Only a complete answer is returned; anything else raises."""
        probe = build_probe(model_id, prompt, max_tokens)
        body = await self._request("POST", "/chat/completions", json=probe)
        try:
            text, is_cut = parse_completion(body, model_id)
        except ValueError as error:
            raise MinerFault(quote_stranger(str(error))) from error
        return Answer(text, is_cut)

    async def transcript(self, task_id: TaskId, prompt_hashes: Sequence[Hash32]) -> bytes:
        """The miner's signature over its replies to these prompts, unchecked."""
        body = {"prompt_hashes": ["0x" + digest.hex() for digest in prompt_hashes]}
        answer = await self._request("POST", f"/touchstone/tasks/0x{task_id.hex()}/transcript", json=body)
        try:
            return bytes.fromhex(_text(answer, "signature").removeprefix("0x"))
        except ValueError as error:
            raise MinerFault("the signature is not hex") from error

    async def download(self, task_id: TaskId, name: str, into: PartialFile, cap_bytes: int) -> None:
        """One file of the task's returned weights, of at most `cap_bytes`, to the end of `into`."""
        path = f"/v1/touchstone/tasks/0x{task_id.hex()}/files/{name}"
        await self._http.download(path, into, token=await self._session(), cap_bytes=cap_bytes)

    async def _request(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = await self._http.request_json(method, f"/v1{path}", token=await self._session(), **body)
        if not isinstance(answer, dict):
            raise MinerFault(f"{method} {path}: the answer is not an object")
        return answer

    async def _session(self) -> str:
        """A token that is valid now; its nonce, the time in microseconds, only ever grows."""
        # One at a time: the older of two new tokens would be refused wherever the newer came first.
        async with self._renewal:
            now_s = time.time()
            if now_s > self._token_expiry_s - SESSION_LIFETIME_S / 2:
                nonce, expiry = int(now_s * 1e6), UnixSeconds(int(now_s) + SESSION_LIFETIME_S)
                struct = typed_data.session(self._signer.address, self._miner, nonce, expiry)
                signature = await self._signer.sign_typed_data(self._domain, struct)
                self._token = SessionToken(self._signer.address, self._miner, nonce, expiry, signature).encode()
                self._token_expiry_s = expiry
            return self._token


def _identifier(body: dict[str, Any]) -> str:
    identifier = _text(body, "id")
    if _IDENTIFIER.fullmatch(identifier) is None or not identifier.strip("."):
        raise MinerFault("the answer's id is not 1 to 128 letters, digits or any of . _ : -")
    return identifier


def _model_name(body: dict[str, Any]) -> str:
    name = _text(body, "fine_tuned_model")
    if not name.isprintable() or not 1 <= len(name) <= MAX_MODEL_NAME_LENGTH:
        raise MinerFault(f"a model's name has 1 to {MAX_MODEL_NAME_LENGTH} printable characters")
    return name


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise MinerFault(f"the answer has no text under {key!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MinerFault(f"{key!r} holds a lone surrogate") from error
    return value
