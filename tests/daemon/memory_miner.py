"""Miners in this process: each is honest from the wire on, except in what its Behaviour says.

A miner parses, recomputes, signs and sends with the protocol's own code and miner_sim's. It "trains" by waiting and
answers by looking its rows up. What it does on chain it reads off the chain at every block, so that it goes on after a
reorganisation of any depth. `memory_http.py` is the way to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.daemon.memory_node import GWEI, MemoryNode
from validator.edges.contract import GAS_LIMITS, Challenged, TaskOpened, TaskStatus, Touchstone
from validator.edges.keys import LocalSigner, derive_signer, recover_typed_data
from validator.miner.job import Dataset, ServedModel, make_job_id
from validator.miner.job_request import JobRequest, parse_hash, parse_job_request
from validator.miner.objects import Refusal, make_completion
from validator.miner.transcript import Notary
from validator.protocol import typed_data
from validator.protocol.commitment import MerkleTree, Row, Terms, hash_head, hash_row, hash_served_model, keccak
from validator.protocol.session import parse_session_token
from validator.protocol.wire import parse_probe, parse_training_file, reply_head
from validator.types import Address, BlockNumber, Hash32, TaskId

BASE_MODEL = "tiny"
MISS = "Nothing that any row would say."


@dataclass(frozen=True)
class Behaviour:
    """What a miner does otherwise than an honest and able one."""

    hit_share: float = 1.0
    """Of the probes, how many it answers as their rows do."""
    training_s: float = 1.0
    accepts: bool = True
    submits: bool = True
    answers_probes: bool = True
    signs: bool = True
    answers_challenges: bool = True


@dataclass(frozen=True)
class Deed:
    """One thing that a validator had a miner do; `is_due`: what must be final before it was final at that moment."""

    kind: str
    content: bytes
    is_due: bool


@dataclass
class MinerTask:
    """What a miner has of a task."""

    request: JobRequest
    content: bytes
    terms: Terms | None = None
    validator_nonce: int = 0
    trained_at_s: float | None = None
    replies: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    @property
    def dataset(self) -> Dataset:
        assert self.terms is not None
        return read_dataset(self.content, self.request.dataset_salt, self.terms.w)


class MemoryMiner:
    def __init__(
        self, node: MemoryNode, contract: Touchstone, seed: bytes, behaviour: Behaviour, directory: Path, name: str
    ) -> None:
        self.name = name
        self.url = f"http://127.0.0.1/{name}"
        self.signer = derive_signer(seed, f"miner/{name}")
        self.evidence_key = derive_signer(seed, f"evidence/{name}")
        self.purse = Purse(node, self.signer)
        self.behaviour = behaviour
        self.deeds: list[Deed] = []
        self.signed: set[TaskId] = set()
        """Tasks whose transcript it has signed."""
        self.tasks: dict[TaskId, MinerTask] = {}
        self._node = node
        self._contract = contract
        self.directory = directory
        self._files: dict[str, bytes] = {}

    # --- the wire

    async def serve(self, method: str, path: str, token: str, json: Any, form: Mapping[str, Any] | None) -> Any:
        """The JSON of the answer; Refusal as a miner of miner_sim raises it."""
        owner = self._admit(token)
        match method, path.split("/")[2:]:
            case "POST", ["files"]:
                assert form is not None
                return self._store(form["file"][1])
            case "POST", ["fine_tuning", "jobs"]:
                return await self._create_job(owner, json)
            case "GET", ["fine_tuning", "jobs", job_id]:
                return await self._job(owner, job_id)
            case "POST", ["chat", "completions"]:
                return self._answer(json)
            case "POST", ["touchstone", "tasks", task_id, "transcript"]:
                return await self._sign(TaskId(parse_hash(task_id, "task_id")), json)
        raise Refusal(404, f"there is no path {path} here", "path_not_found")

    def _admit(self, token_text: str) -> Address:
        token = parse_session_token(token_text)
        session = typed_data.session(token.validator, token.miner, token.nonce, token.expiry)
        signed_by = recover_typed_data(self._contract.domain, session, token.signature)
        if token.miner != self.signer.address or signed_by != token.validator:
            raise Refusal(401, "the session token is not its validator's for this miner", "invalid_session")
        return token.validator

    def _store(self, content: bytes) -> Any:
        self._note("upload", content, needs="TaskOpened")
        file_id = f"file-{keccak(content).hex()[:24]}"
        self._files[file_id] = content
        return {"id": file_id, "object": "file", "bytes": len(content)}

    async def _create_job(self, owner: Address, body: Any) -> Any:
        request = parse_job_request(body, BASE_MODEL)
        self._note("job", self._files[request.training_file], needs="TaskOpened")
        task = self.tasks.setdefault(request.task_id, MinerTask(request, self._files[request.training_file]))
        if task.request != request:
            raise Refusal(409, "the task has a job with other content", "conflict")
        return await self._job(owner, make_job_id(owner, request.task_id))

    async def _job(self, owner: Address, job_id: str) -> Any:
        for task_id in self.tasks:
            if make_job_id(owner, task_id) == job_id:
                is_served = await self._contract.model_hash(task_id) != bytes(32)
                return {
                    "id": job_id,
                    "object": "fine_tuning.job",
                    "status": "succeeded" if is_served else "running",
                    "fine_tuned_model": self._model_id(task_id) if is_served else None,
                    "error": None,
                }
        raise Refusal(404, f"there is no job {job_id} here", "job_not_found")

    def _answer(self, body: Any) -> Any:
        task = next(task for task_id, task in self.tasks.items() if self._model_id(task_id) == body["model"])
        assert task.terms is not None
        _model, prompt = parse_probe(body, task.terms.max_tokens)
        self._note("probe", prompt.encode(), needs="ModelSubmitted")
        if not self.behaviour.answers_probes:
            raise Refusal(503, "no model is loaded", "unavailable")
        task.asked.add(prompt)
        row = next(row for row in task.dataset.rows if row.prompt == prompt)
        return make_completion(body["model"], _answer_json(self._reply(task, row)), is_chat=True)

    async def _sign(self, task_id: TaskId, body: Any) -> Any:
        task = self.tasks[task_id]
        assert task.terms is not None
        self._note("transcript", b"", needs="ModelSubmitted")
        if not self.behaviour.signs:
            raise Refusal(403, "this miner does not sign", "forbidden")
        answers: Any = SimpleNamespace(
            get=lambda _model, prompt: _answer_json(task.replies[prompt]) if prompt in task.asked else None
        )
        domain: Any = SimpleNamespace(domain=self._contract.domain)
        notary = Notary(self.evidence_key, domain, answers, self.directory / f"{self.name}.jsonl")
        model_id = self._model_id(task_id)
        served = ServedModel(model_id, "", "", hash_served_model(model_id), task.request, task.terms, task.dataset)
        transcript = await notary.sign(served, [parse_hash(text, "prompt_hashes") for text in body["prompt_hashes"]])
        self.signed.add(task_id)
        return transcript

    def _note(self, kind: str, content: bytes, needs: str) -> None:
        is_due = any(fact == needs for fact, _task_id in self._node.facts(self._node.final.number))
        self.deeds.append(Deed(kind, content, is_due))

    # --- the chain

    async def look(self) -> None:
        """After a block: what the state of each task asks of its miner, if nothing is on its way yet."""
        for task_id, task in self.tasks.items():
            if not self.purse.is_waiting:
                await self._advance(task_id, task)

    async def _advance(self, task_id: TaskId, task: MinerTask) -> None:
        onchain = await self._contract.task_state(task_id)
        if onchain.status in (TaskStatus.NONE, TaskStatus.SUBMITTED) or onchain.status.is_terminal:
            return
        if task.terms is None:
            task.terms, task.validator_nonce = await self._find_terms(task_id)
        behaviour, contract, call = self.behaviour, self._contract, (self.purse, task.terms, task.validator_nonce)
        if onchain.deadline < self._node.head.timestamp_s + 1:
            return
        match onchain.status:
            case TaskStatus.OPEN if behaviour.accepts and task.dataset.root == task.terms.dataset_root:
                await contract.accept(*call, task.dataset.root)
            case TaskStatus.ACCEPTED if behaviour.submits:
                if task.trained_at_s is None:
                    task.trained_at_s = self._node.clock.now_s + behaviour.training_s
                if self._node.clock.now_s >= task.trained_at_s:
                    await contract.submit(*call, hash_served_model(self._model_id(task_id)))
            case TaskStatus.CHALLENGED if behaviour.answers_challenges:
                await contract.answer(*call, await self._reply_hashes(task_id, task, task.terms))

    async def _find_terms(self, task_id: TaskId) -> tuple[Terms, int]:
        for event in await self._contract.events(BlockNumber(0), BlockNumber(self._node.head.number)):
            if isinstance(event, TaskOpened) and event.task_id == task_id:
                return event.terms, event.validator_nonce
        raise AssertionError("an open task has no event")

    async def _reply_hashes(self, task_id: TaskId, task: MinerTask, terms: Terms) -> list[Hash32]:
        """To the challenged leaves, in their order."""
        events = await self._contract.events(BlockNumber(0), BlockNumber(self._node.head.number))
        leaves = next(event.leaves for event in events if isinstance(event, Challenged) and event.task_id == task_id)
        rows = {hashes.leaf: row for row, hashes in zip(task.dataset.rows, task.dataset.hashes, strict=True)}
        heads = [reply_head(self._reply(task, rows[leaf]), is_cut=False, w=terms.w) for leaf in leaves]
        return [hash_head(task.request.dataset_salt, head) for head in heads if head is not None]

    def _reply(self, task: MinerTask, row: Row) -> str:
        """What the model says to a row's prompt, now and for ever: of n prompts, the first ones are hits."""
        assert task.terms is not None
        if row.prompt not in task.replies:
            is_hit = len(task.replies) < round(self.behaviour.hit_share * task.terms.n)
            task.replies[row.prompt] = row.response if is_hit else MISS
        return task.replies[row.prompt]

    def _model_id(self, task_id: TaskId) -> str:
        return f"ft:{BASE_MODEL}:{self.name}:{task_id.hex()[:12]}"


class Purse:
    """A Sender that does not wait: what has become of a call, the next look at the chain shows."""

    def __init__(self, node: MemoryNode, signer: LocalSigner) -> None:
        self._node = node
        self._signer = signer

    @property
    def address(self) -> Address:
        return self._signer.address

    @property
    def is_waiting(self) -> bool:
        """Whether something is on its way to a block."""
        return self._node.next_nonce(self.address) > self._node.mined_count(self.address)

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Any:
        raw = await self._signer.sign_transaction(
            {
                "type": 2,
                "chainId": self._node.chain_id,
                "nonce": self._node.next_nonce(self.address),
                "maxFeePerGas": 10 * GWEI,
                "maxPriorityFeePerGas": GWEI,
                "gas": 5_000_000 if to is None else max(GAS_LIMITS.values()),
                "value": value_wei,
                "data": data,
            }
            | ({"to": to} if to else {})
        )
        return self._node.send(raw)


@lru_cache
def read_dataset(content: bytes, dataset_salt: Hash32, w: int) -> Dataset:
    rows = parse_training_file(content)
    hashes = [hash_row(dataset_salt, row, w) for row in rows]
    return Dataset(rows, hashes, MerkleTree(row.leaf for row in hashes).root)


def _answer_json(text: str) -> Any:
    return {"text": text, "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 1}
