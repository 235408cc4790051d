"""The customers' side of a running validator: quotes, requests in, their progress, models out.

Rule kept: everything that can be wrong with a request is found before it is accepted, and what is accepted is on disk,
the data first, then the request; what becomes of it is read off the tasks that name it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from validator.config import Durations
from validator.coverage.references import References
from validator.edges.contract import Touchstone
from validator.edges.datasets import parse_rows
from validator.errors import BadInput, Transient
from validator.journal import Journal
from validator.journal.journal import RequestRow
from validator.marks.planting import MAX_LENGTH, hash_source_data
from validator.marks.schemes import OpeningCanary, make_scheme
from validator.protocol.commitment import Row
from validator.protocol.method import Method, read_max_length, read_method
from validator.protocol.state import Phase, TaskState, Weights
from validator.requests.dataset_store import MAX_DATASET_BYTES, DatasetKey, DatasetStore
from validator.requests.orders import Circumstances, Request, SignedOrder, check_request, decode_request, encode_request
from validator.requests.quotes import Quote, Wish, make_quote
from validator.requests.retention import reveal_settled
from validator.requests.status import RequestStatus, Stage, next_order, request_status
from validator.requests.task_index import TaskIndex
from validator.requests.view import describe_request, find_paid
from validator.types import Address, Hash32, TaskId, UnixSeconds

CHAIN_PATIENCE_S = 2.0
"""How long people who ask what is known are kept waiting for a node that does not answer."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request whose next attempt can be planned, and the Order to open it with."""

    request: Request
    order: SignedOrder

    @property
    def dataset(self) -> DatasetKey:
        return dataset_of(self.request)


class Desk:
    """Serves customers for one validator. `states` are the driver's, `model_directory` is where a task's weights lie.

    `preferred` is the scheme and the number of probes where a customer does not say. `measure_weights` raises BadInput
    for a base model that no weights can be checked for; `has_openings` and `has_words` say what schemes draw from.
    `on_request` is told that there is something new to plan.
    """

    def __init__(
        self,
        *,
        contract: Touchstone,
        validator: Address,
        journal: Journal,
        store: DatasetStore,
        states: Callable[[], Mapping[TaskId, TaskState]],
        model_directory: Callable[[TaskId], Path],
        durations: Durations,
        min_reward_wei: int,
        preferred: tuple[str | None, int],
        references: References,
        measure_weights: Callable[[str, Method], Awaitable[int]],
        has_openings: bool = False,
        has_words: bool = True,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._contract = contract
        self._validator = validator
        self._journal = journal
        self._store = store
        self._states = states
        self._model_directory = model_directory
        self._durations = durations
        self._min_reward_wei = min_reward_wei
        self._preferred = preferred
        self._references = references
        self._measure_weights = measure_weights
        self._has_openings, self._has_words = has_openings, has_words
        self._on_request = on_request
        self._rows: dict[Hash32, RequestRow] = {row.request_id: row for row in journal.requests()}
        self._bodies: dict[Hash32, Request] = {}
        self._ended: set[Hash32] = set()
        self._intake = asyncio.Lock()

    async def quote(self, wish: Wish) -> Quote:
        """BadInput for what cannot be had at all."""
        quote = make_quote(
            wish,
            validator=self._validator,
            contract=self._contract.address,
            chain_id=self._contract.chain.chain_id,
            credit_wei=await self._free_credit_wei(wish.payer),
            accept_seconds=self._durations.accept_seconds,
            now_s=await self._now_s(),
            preferred=self._preferred,
        )
        self._check_scheme(quote.scheme)
        return quote

    async def submit(self, request: Request, data: bytes) -> dict[str, Any]:
        """Take a request in; the same once more changes nothing. BadInput with what is wrong with it or its data."""
        async with self._intake:  # Credit must not be promised twice.
            if request.request_id not in self._rows:
                await self._take_in(request, data)
        return await self.show(request.request_id)

    async def _take_in(self, request: Request, data: bytes) -> None:
        if await self._contract.is_sunset():
            raise BadInput(f"the contract {self._contract.address} opens no new tasks any more")
        check_request(request, await self._circumstances(request))
        self._check_scheme(request.scheme)
        if request.weights != Weights.NONE:
            await self._measure_weights(request.base_model, read_method(request.spec))
        if request.weights == Weights.JUDGED and make_scheme(request.scheme).coverage_k:
            self._check_reference(request.spec)
        rows = await asyncio.to_thread(_read_data, data, request)
        await reveal_settled(self._store, self._index())
        await self._store.take_in(
            request.payer,
            rows,
            make_scheme(request.scheme, request.rules),
            request.probes,
            max_length=read_max_length(request.spec) or MAX_LENGTH,
            is_reusing_revealed=request.is_reusing_revealed,
        )
        self._journal.add_request(request.request_id, encode_request(request))
        self._refresh()
        self._on_request()

    def _check_scheme(self, name: str) -> None:
        is_drawing_openings = isinstance(make_scheme(name), OpeningCanary)
        if is_drawing_openings and not self._has_openings:
            raise BadInput(f"this validator has no model that proposes openings for {name}: ask for another --scheme")
        if not is_drawing_openings and not self._has_words:
            raise BadInput(f"this validator has no model that proposes words for {name}: ask for canary-openings")

    def _check_reference(self, spec: str) -> None:
        """BadInput where the trained share could not be estimated, so that no miner could be paid."""
        if self._references.find(spec) is None:
            raise BadInput(
                "how much of the rows was trained on cannot be judged for this spec, since it has no honest reference: "
                "the operator makes one with `touchstone validator calibrate`; or ask for --weights delivered, or for "
                "a scheme without coverage"
            )

    async def show(self, request_id: Hash32) -> dict[str, Any]:
        """All about one request, as JSON."""
        return self._view(self._row(request_id), self._index(), await self._now_s())

    async def requests(self) -> list[dict[str, Any]]:
        """All about every request, oldest first."""
        index, now_s = self._index(), await self._now_s()
        return [self._view(row, index, now_s) for row in self._rows.values()]

    async def cancel(self, request_id: Hash32) -> dict[str, Any]:
        """Plan nothing more for a request; BadInput where it is too late. An attempt that is running goes on."""
        row, index, now_s = self._row(request_id), self._index(), await self._now_s()
        status = self._status(row, index, now_s)
        if status.stage.is_final and status.stage is not Stage.CANCELLED:
            raise BadInput(f"the request has ended already: {status.stage}, {status.reason}")
        self._journal.cancel_request(request_id)
        self._refresh()
        return self._view(self._row(request_id), index, now_s)

    def model_file(self, request_id: Hash32, name: str) -> Path:
        """A file of the model that was paid for; BadInput if there is none of that name."""
        state = find_paid(self._index().of_request(self._row(request_id).request_id))
        if state is None:
            raise BadInput("there is no model to fetch: it comes with a task that returns weights and has been paid")
        path = self._model_directory(state.task_id) / name
        if name not in {file.path for file in state.weights_files} or not path.is_file():
            raise BadInput(f"there is no file {name} of this model here (it may have been deleted when it was due)")
        return path

    def waiting(self, now_s: int) -> Iterator[Waiting]:
        """What can be planned now, in the order of arrival."""
        index = self._index()
        for row, request in self._unended(index, now_s):
            order = next_order(request, index.of_request(row.request_id), now_s=now_s, **self._obstacles(row, index))
            if order is not None:
                yield Waiting(request, order)

    def wanted(self) -> set[DatasetKey]:
        """The datasets of requests that have not ended."""
        return {dataset_of(request) for _row, request in self._unended(self._index(), int(time.time()))}

    def _unended(self, index: TaskIndex, now_s: int) -> list[tuple[RequestRow, Request]]:
        """An end is for ever, so whoever has come to one is not looked at again."""
        found = []
        for row in self._rows.values():
            if row.request_id in self._ended:
                continue
            if self._status(row, index, now_s).stage.is_final:
                self._ended.add(row.request_id)
            else:
                found.append((row, self._request(row)))
        return found

    def _index(self) -> TaskIndex:
        return TaskIndex(self._states().values())

    def _refresh(self) -> None:
        self._rows = {row.request_id: row for row in self._journal.requests()}

    def _row(self, request_id: Hash32) -> RequestRow:
        row = self._rows.get(request_id)
        if row is None:
            raise BadInput(f"there is no request 0x{request_id.hex()}")
        return row

    def _request(self, row: RequestRow) -> Request:
        if row.request_id not in self._bodies:
            self._bodies[row.request_id] = decode_request(row.body)
        return self._bodies[row.request_id]

    def _status(self, row: RequestRow, index: TaskIndex, now_s: int) -> RequestStatus:
        tasks = index.of_request(row.request_id)
        return request_status(self._request(row), tasks, now_s=now_s, **self._obstacles(row, index))

    def _obstacles(self, row: RequestRow, index: TaskIndex) -> dict[str, bool]:
        """Why no further attempt may be made, whatever Orders are left."""
        request = self._request(row)
        key = dataset_of(request)
        record = self._store.record(key)
        is_public = bool(record and record.revealed) or key in index.public_datasets
        return {
            "is_cancelled": row.cancelled_at_s is not None,
            "is_public": is_public and not request.is_reusing_revealed,
        }

    async def _now_s(self) -> int:
        """Chain time, or the wall clock where it is ahead: blocks of development chains come only when asked for.

        The wall clock alone while no node answers, since what is known must be told then too.
        """
        try:
            async with asyncio.timeout(CHAIN_PATIENCE_S):
                chain_time_s = (await self._contract.chain.head()).timestamp_s
        except (Transient, TimeoutError):
            chain_time_s = UnixSeconds(0)
        return max(chain_time_s, int(time.time()))

    async def _free_credit_wei(self, payer: Address) -> int:
        """The payer's credit, less one attempt for each of its requests that has none open and may get one."""
        now_s = int(time.time())
        promised = sum(
            waiting.request.cost_wei for waiting in self.waiting(now_s) if waiting.request.payer == payer
        ) + sum(
            state.terms.reward + state.terms.fee
            for state in self._states().values()
            if state.phase is Phase.PLANNED and state.terms.payer == payer
        )
        return max(0, await self._contract.credits_wei(payer) - promised)

    async def _circumstances(self, request: Request) -> Circumstances:
        nonces = [signed.order.nonce for signed in request.orders if 0 <= signed.order.nonce < 2**256]
        used = [nonce for nonce in nonces if await self._contract.is_order_nonce_used(request.payer, nonce)]
        return Circumstances(
            domain=self._contract.domain,
            validator=self._validator,
            now_s=await self._now_s(),
            accept_seconds=self._durations.accept_seconds,
            min_reward_wei=self._min_reward_wei,
            credit_wei=await self._free_credit_wei(request.payer),
            used_nonces=used,
        )

    def _view(self, row: RequestRow, index: TaskIndex, now_s: int) -> dict[str, Any]:
        status, tasks = self._status(row, index, now_s), index.of_request(row.request_id)
        return describe_request(row, self._request(row), status, tasks)


def dataset_of(request: Request) -> DatasetKey:
    return DatasetKey(request.payer, request.source_data_hash)


def _read_data(data: bytes, request: Request) -> list[Row]:
    if len(data) > MAX_DATASET_BYTES:
        raise BadInput(f"the dataset has {len(data)} bytes, at most {MAX_DATASET_BYTES} are taken: split it")
    rows = parse_rows(data, "the dataset")
    if hash_source_data(rows) != request.source_data_hash:
        raise BadInput("the dataset is not the one that the Orders were signed for (D5)")
    return rows
