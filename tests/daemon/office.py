"""A validator's desk over a real chain, journal and store, with its control socket: a daemon without miners."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.edges.conftest import NO_FLOORS
from tests.factories import digest, make_planned
from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.base_model.grammar import generate_rows
from validator.config import DEV
from validator.control.client import ControlClient
from validator.control.operations import Operations
from validator.control.server import serve_control
from validator.coverage.references import References
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.devnet import open_chain
from validator.edges.keys import dev_mnemonic_signer
from validator.journal import Identity, Journal
from validator.marks.planting import hash_source_data
from validator.marks.secrets import derive_dataset_key, derive_journal_key
from validator.model_work import Children
from validator.plan.spec import TrainingSpec
from validator.plan.terms import compute_fee
from validator.protocol import events as facts
from validator.protocol import typed_data
from validator.protocol.commitment import Row
from validator.protocol.machine import step
from validator.protocol.state import TaskState, Weights
from validator.protocol.typed_data import OrderMessage
from validator.protocol.wire import encode_training_file
from validator.requests.dataset_store import DatasetStore
from validator.requests.desk import Desk
from validator.requests.orders import Request, SignedOrder, choose_expiry
from validator.types import EffectKey, Hash32, TaskId, Wei
from validator.weights.returned import ReturnedWeights

PAYER, VALIDATOR = dev_mnemonic_signer(0), dev_mnemonic_signer(1)
REWARD_WEI = Wei(10**18)
COST_WEI = Wei(REWARD_WEI + compute_fee(REWARD_WEI))
SPEC = TrainingSpec("tiny", epochs=3, learning_rate=1e-3)
ROWS = generate_rows(300, seed=1)
DATA = encode_training_file(ROWS)
MASTER_SEED = digest("master seed")
BASE_MODELS = {EMBEDDED_MODEL_NAME: EMBEDDED_MODEL}


@dataclass
class Office:
    """A validator's desk over a real chain, journal and store; `open` starts it over what is on disk."""

    contract: Touchstone
    url: str
    directory: Path

    @asynccontextmanager
    async def open(self, *, min_reward_wei: int = 0) -> AsyncIterator[ControlClient]:
        identity = Identity(self.contract.chain.chain_id, self.contract.address, VALIDATOR.address)
        self.journal = Journal(self.directory / "journal.sqlite", derive_journal_key(MASTER_SEED), identity)
        self.states: dict[TaskId, TaskState] = self.journal.replay()
        self.store = DatasetStore(self.directory / "datasets", derive_dataset_key(MASTER_SEED), max_bytes=1 << 30)
        self.running: dict[EffectKey, float] = {}
        self.refusals: dict[EffectKey, str] = {}
        self.calls: list[str] = []
        self.desk = Desk(
            contract=self.contract,
            validator=VALIDATOR.address,
            journal=self.journal,
            store=self.store,
            states=lambda: self.states,
            model_directory=lambda task_id: self.directory / "models" / task_id.hex(),
            durations=DEV.durations,
            min_reward_wei=min_reward_wei,
            preferred=(None, 16),
            references=References(self.directory / "references"),
            measure_weights=ReturnedWeights(Children(1), self.directory / "models", BASE_MODELS).measure,
            on_request=lambda: self.calls.append("on_request"),
        )
        operations = Operations(
            contract=self.contract,
            validator=VALIDATOR.address,
            journal=self.journal,
            states=lambda: self.states,
            running=lambda: self.running,
            refusals=lambda: self.refusals,
            waits_for=lambda: "no miner is free",
            health=lambda: {"is_ok": True},
            version="1.2.3",
        )
        try:
            async with (
                serve_control(self.socket, self.desk, operations),
                ControlClient.connect(self.socket) as client,
            ):
                yield client
        finally:
            self.journal.close()

    @property
    def socket(self) -> Path:
        return self.directory / "control.sock"

    def happen(self, events: Sequence[facts.Event]) -> TaskState:
        """Let these events happen to a task, in the journal as in memory."""
        for event in events:
            state, effects = step(self.states.get(event.task_id), event)
            self.journal.record(event, effects)
            self.states[event.task_id] = state
        return state


@asynccontextmanager
async def open_office(directory: Path) -> AsyncIterator[Office]:
    """Over a fresh chain, where the payer has credit for one attempt."""
    async with open_chain("embedded") as url:
        office = await found_office(url, directory)
        try:
            yield office
        finally:
            await office.contract.chain.aclose()


async def found_office(url: str, directory: Path) -> Office:
    chain = await Chain.connect(url)
    contract = await Touchstone.deploy(TransactionSender(chain, dev_mnemonic_signer(9)), NO_FLOORS)
    await contract.deposit(TransactionSender(chain, PAYER), COST_WEI)
    return Office(contract, url, directory)


async def make_request(
    office: Office, *, rows: Sequence[Row] = ROWS, attempts: int = 2, nonce: int = 1, **changes: Any
) -> Request:
    now_s = (await office.contract.chain.head()).timestamp_s
    orders = []
    for number in range(attempts):
        order = OrderMessage(
            validator=VALIDATOR.address,
            max_reward=REWARD_WEI,
            max_fee=compute_fee(REWARD_WEI),
            spec_hash=SPEC.hash,
            source_data_hash=Hash32(hash_source_data(rows)),
            min_n=16,
            min_k_pay=12,
            nonce=nonce + number,
            expiry=choose_expiry(now_s, attempts, DEV.durations.accept_seconds),
        )
        signature = await PAYER.sign_typed_data(office.contract.domain, typed_data.order(order))
        orders.append(SignedOrder(order, signature))
    request = Request(
        payer=PAYER.address,
        source_data_hash=Hash32(hash_source_data(rows)),
        spec=SPEC.to_json(),
        base_model=SPEC.base_model,
        reward_wei=REWARD_WEI,
        scheme="canary",
        probes=16,
        weights=Weights.NONE,
        is_reusing_revealed=False,
        orders=tuple(orders),
    )
    return replace(request, **changes)


def serve(request: Request, events: Sequence[facts.Event], attempt: int = 0, **terms: Any) -> list[facts.Event]:
    """What happens to the task of an attempt, its plan first."""
    planned = replace(
        make_planned(attempt, payer=PAYER.address, **terms),
        order=request.orders[attempt].order,
        request_id=request.request_id,
    )
    return [planned, *(replace(event, task_id=planned.task_id) for event in events)]
