"""The Touchstone contract: one method per function, one frozen dataclass per event, typed in and typed out.

Rule kept: validator, miners and auditor all read and write the contract through this module, so its bytes are decoded
in one way, and every refusal becomes the error that `refusals.py` names. Names, order and units are the contract's own;
`contracts/Touchstone.vy` says what each is for. The module is long because it names every function and every event;
what they share is at its end.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias, TypeVar, get_type_hints

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import (
    collapse_if_tuple,
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
    get_abi_input_names,
    get_abi_input_types,
    get_abi_output_types,
)
from eth_utils.address import to_checksum_address

from contracts import TaskState, load_artifact
from validator.config import Profile
from validator.edges.chain import Chain, Log, Receipt, Sender, TransactionSender, UnsentTransaction
from validator.edges.refusals import explain
from validator.errors import BadInput, Fatal, Reverted
from validator.protocol import typed_data
from validator.protocol.commitment import RowHashes, Terms, hash_task_id
from validator.protocol.typed_data import OrderMessage
from validator.types import Address, BlockNumber, Hash32, TaskId, UnixSeconds, Wei

T = TypeVar("T")

MAX_SECONDS = 366 * 86_400
"""The longest duration that the contract takes, as floor, delay or term."""

GAS_LIMITS = {
    "register": 300_000,
    "rotate_evidence_key": 80_000,
    "deposit": 100_000,
    "withdraw": 80_000,
    "stake": 80_000,
    "request_unstake": 150_000,
    "unstake": 80_000,
    "sunset": 100_000,
    "open_task": 350_000,
    "cancel_order": 100_000,
    "open_task_with_offer": 350_000,
    "accept": 150_000,
    "submit": 150_000,
    "challenge": 300_000,
    "answer": 300_000,
    "settle": 3_000_000,
    "judge": 600_000,
    "dispute": 400_000,
    "poke": 200_000,
}
"""Room above what benchmarks/results.json measures (cells gas/...), with 64 marks in 16 million rows for `settle`."""

TaskStatus: TypeAlias = TaskState
"""The contract's states and outcomes, so called because the validator's own view of a task is its `TaskState`."""


class Network(NamedTuple):
    """Constructor values, for ever: the floors of the seven durations, the delay of `unstake`, who may `sunset`."""

    min_accept_seconds: int
    min_train_seconds: int
    min_submitted_seconds: int
    min_challenged_seconds: int
    min_answered_seconds: int
    min_judging_seconds: int
    min_dispute_seconds: int
    unstake_delay_seconds: int
    guardian: Address

    @classmethod
    def of_profile(cls, profile: Profile, guardian: Address) -> "Network":
        return cls._make((*astuple(profile.floors), profile.unstake_delay_seconds, guardian))


class Immutables(NamedTuple):
    """What deployment appends to the code: the network, and the chain id at that moment."""

    network: Network
    birth_chain_id: int


class OnChainTask(NamedTuple):
    """What the contract keeps of a task; `deadline` is the last second of a running state."""

    status: TaskStatus
    deadline: UnixSeconds
    evidence_key: Address
    hits: int
    is_answered: bool


class Miner(NamedTuple):
    """Registration and stake of an address; epoch 0 is never registered, and `locked` is part of `stake`."""

    evidence_key: Address
    epoch: int
    stake: Wei
    locked: Wei
    running: int
    url: str
    tls_key_hash: Hash32
    unstaking: Wei
    unstake_ready_at: UnixSeconds


class Verdict(NamedTuple):
    """One committee member's signed `WeightsVerdict`, as `judge` takes it."""

    hits: int
    coverage_low_bps: int
    bundle_hash: Hash32
    signature: bytes


@dataclass(frozen=True)
class ContractEvent:
    """Base of all events; `log` says where in the chain it stands."""

    log: Log


@dataclass(frozen=True)
class Registered(ContractEvent):
    miner: Address
    epoch: int
    evidence_key: Address
    url: str
    tls_key_hash: Hash32


@dataclass(frozen=True)
class EvidenceKeyRotated(ContractEvent):
    miner: Address
    evidence_key: Address


@dataclass(frozen=True)
class Deposited(ContractEvent):
    account: Address
    amount: Wei


@dataclass(frozen=True)
class Withdrawn(ContractEvent):
    account: Address
    amount: Wei


@dataclass(frozen=True)
class Staked(ContractEvent):
    account: Address
    amount: Wei


@dataclass(frozen=True)
class UnstakeRequested(ContractEvent):
    account: Address
    amount: Wei
    ready_at: UnixSeconds


@dataclass(frozen=True)
class Unstaked(ContractEvent):
    account: Address
    amount: Wei


@dataclass(frozen=True)
class Sunset(ContractEvent):
    pass


@dataclass(frozen=True)
class TaskOpened(ContractEvent):
    task_id: TaskId
    validator: Address
    miner: Address
    validator_nonce: int
    terms: Terms


@dataclass(frozen=True)
class OrderConsumed(ContractEvent):
    task_id: TaskId
    payer: Address
    nonce: int
    source_data_hash: Hash32


@dataclass(frozen=True)
class OrderCancelled(ContractEvent):
    payer: Address
    nonce: int


@dataclass(frozen=True)
class TaskAccepted(ContractEvent):
    task_id: TaskId
    evidence_key: Address


@dataclass(frozen=True)
class ModelSubmitted(ContractEvent):
    task_id: TaskId
    model_hash: Hash32


@dataclass(frozen=True)
class TaskSettled(ContractEvent):
    task_id: TaskId
    salt: Hash32
    rows: tuple[RowHashes, ...]
    replies: tuple[Hash32, ...]
    signature: bytes
    hits: int
    bundle_hash: Hash32


@dataclass(frozen=True)
class Challenged(ContractEvent):
    task_id: TaskId
    leaves: tuple[Hash32, ...]


@dataclass(frozen=True)
class Answered(ContractEvent):
    task_id: TaskId
    replies: tuple[Hash32, ...]


@dataclass(frozen=True)
class Judged(ContractEvent):
    task_id: TaskId
    signer: Address
    hits: int
    coverage_low_bps: int
    bundle_hash: Hash32
    signature: bytes


@dataclass(frozen=True)
class Disputed(ContractEvent):
    task_id: TaskId
    mark: RowHashes
    other: RowHashes
    proof: tuple[Hash32, ...]


@dataclass(frozen=True)
class TaskClosed(ContractEvent):
    task_id: TaskId
    outcome: TaskStatus
    to_payer: Wei
    to_validator: Wei
    to_miner: Wei
    burned: Wei


class Touchstone:
    """The contract at an address. Reads raise what `Chain.call` does, writes what the sender does."""

    def __init__(self, chain: Chain, address: Address) -> None:
        self.chain = chain
        self.address = address

    @classmethod
    async def at(cls, chain: Chain, address: Address) -> "Touchstone":
        """The deployed contract; BadInput unless this very version of Touchstone is at that address."""
        contract = cls(chain, address)
        try:
            await contract.immutables()
        except ValueError as error:
            raise BadInput(f"{error} (chain {chain.chain_id})") from None
        return contract

    @classmethod
    async def deploy(cls, sender: TransactionSender, network: Network) -> "Touchstone":
        """A new contract, whose parameters nobody can ever change."""
        receipt = await _explained(sender.send(None, encode_deployment(network)))
        if receipt.contract_address is None:
            raise Fatal("the node gave no address for the new contract")
        return cls(sender.chain, receipt.contract_address)

    @staticmethod
    async def sign_deployment(sender: TransactionSender, network: Network) -> UnsentTransaction:
        """What `deploy` would send, for whoever must write it down first; `resume` sends it."""
        return await _explained(sender.sign(None, encode_deployment(network)))

    @staticmethod
    async def resume(sender: TransactionSender, raw: bytes) -> Receipt:
        """Send a signed call or deployment once more; it can take effect once only."""
        return await _explained(sender.resume(raw))

    @property
    def domain(self) -> dict[str, Any]:
        """The EIP-712 domain of everything that is signed for this contract."""
        return typed_data.domain(self.chain.chain_id, self.address)

    def task_id(self, terms: Terms, validator_nonce: int) -> TaskId:
        return hash_task_id(self.chain.chain_id, self.address, terms.validator, validator_nonce, terms.hash)

    async def events(
        self,
        from_block: BlockNumber,
        to_block: BlockNumber,
        *,
        kind: type[ContractEvent] | None = None,
        task_id: TaskId | None = None,
    ) -> list[ContractEvent]:
        """Every event from one block to another, both included, in the order of the chain.

        Of one kind or of one task, where that is given.
        """
        topics: list[Hash32 | None] = [Hash32(topic) for topic, known in _event_kinds().items() if known is kind]
        if task_id is not None:
            topics = [*(topics or [None]), Hash32(task_id)]
        decoded = (decode_log(log) for log in await self.chain.logs(self.address, from_block, to_block, topics))
        return [event for event in decoded if event is not None]

    # --- reads, on the newest block where no other is named

    async def immutables(self) -> Immutables:
        """What was fixed at deployment, read from the code; ValueError says what is there instead of Touchstone."""
        code = await self.chain.code_at(self.address)
        if not code:
            raise ValueError(f"there is no contract at {self.address}")
        try:
            return parse_code(code)
        except ValueError as error:
            raise ValueError(f"the contract at {self.address} is not this version of Touchstone: {error}") from None

    async def task_state(self, task_id: TaskId, at: BlockNumber | None = None) -> OnChainTask:
        """State NONE for an unknown task. Of a block that is final, where `at` is given."""
        return OnChainTask(*_typed_fields(OnChainTask, await self._read("task_state", task_id, at=at)))

    async def miner(self, account: Address) -> Miner:
        return Miner(*_typed_fields(Miner, await self._read("miners", account)))

    async def network(self) -> Network:
        return Network(*_typed_fields(Network, await self._read("network")))

    async def credits_wei(self, account: Address, at: BlockNumber | None = None) -> Wei:
        """What the account could withdraw now, or after the block `at`."""
        return Wei(await self._read("credits", account, at=at))

    async def validator_nonce(self, validator: Address) -> int:
        """The nonce of the validator's next task."""
        return int(await self._read("validator_nonce", validator))

    async def is_order_nonce_used(self, payer: Address, nonce: int) -> bool:
        return bool(await self._read("is_order_nonce_used", payer, nonce))

    async def is_commitment_used(self, validator: Address, commitment: Hash32) -> bool:
        return bool(await self._read("is_commitment_used", validator, commitment))

    async def is_sunset(self) -> bool:
        return bool(await self._read("is_sunset"))

    async def model_hash(self, task_id: TaskId) -> Hash32:
        """The submitted model's; zero before `submit`."""
        return Hash32(await self._read("model_hash", task_id))

    async def evidence_hash(self, task_id: TaskId) -> Hash32:
        return Hash32(await self._read("evidence_hash", task_id))

    async def domain_separator(self) -> Hash32:
        return Hash32(await self._read("domain_separator"))

    # --- accounts

    async def register(self, sender: Sender, evidence_key: Address, url: str, tls_key_hash: Hash32) -> Receipt:
        return await self._write(sender, "register", evidence_key=evidence_key, url=url, tls_key_hash=tls_key_hash)

    async def rotate_evidence_key(self, sender: Sender, evidence_key: Address) -> Receipt:
        return await self._write(sender, "rotate_evidence_key", evidence_key=evidence_key)

    async def deposit(self, sender: Sender, amount: Wei) -> Receipt:
        return await _explained(sender.send(self.address, _encode_call("deposit"), amount))

    async def withdraw(self, sender: Sender, amount: Wei) -> Receipt:
        return await self._write(sender, "withdraw", amount=amount)

    async def stake(self, sender: Sender, amount: Wei) -> Receipt:
        return await self._write(sender, "stake", amount=amount)

    async def request_unstake(self, sender: Sender, amount: Wei) -> Receipt:
        return await self._write(sender, "request_unstake", amount=amount)

    async def unstake(self, sender: Sender) -> Receipt:
        return await self._write(sender, "unstake")

    async def sunset(self, sender: Sender) -> Receipt:
        return await self._write(sender, "sunset")

    # --- tasks

    async def open_task(self, sender: Sender, terms: Terms, order: OrderMessage, order_signature: bytes) -> Receipt:
        return await self._write(
            sender, "open_task", terms=terms.as_tuple(), order=order, order_signature=order_signature
        )

    async def cancel_order(self, sender: Sender, nonce: int) -> Receipt:
        return await self._write(sender, "cancel_order", nonce=nonce)

    async def open_task_with_offer(
        self, sender: Sender, terms: Terms, expiry: UnixSeconds, offer_signature: bytes
    ) -> Receipt:
        return await self._write(
            sender, "open_task_with_offer", terms=terms.as_tuple(), expiry=expiry, offer_signature=offer_signature
        )

    async def accept(self, sender: Sender, terms: Terms, validator_nonce: int, dataset_root: Hash32) -> Receipt:
        return await self._write(
            sender, "accept", terms=terms.as_tuple(), validator_nonce=validator_nonce, dataset_root=dataset_root
        )

    async def submit(self, sender: Sender, terms: Terms, validator_nonce: int, model_hash: Hash32) -> Receipt:
        return await self._write(
            sender, "submit", terms=terms.as_tuple(), validator_nonce=validator_nonce, model_hash=model_hash
        )

    async def challenge(self, sender: Sender, terms: Terms, validator_nonce: int, leaves: Sequence[Hash32]) -> Receipt:
        return await self._write(
            sender, "challenge", terms=terms.as_tuple(), validator_nonce=validator_nonce, leaves=leaves
        )

    async def answer(self, sender: Sender, terms: Terms, validator_nonce: int, replies: Sequence[Hash32]) -> Receipt:
        return await self._write(
            sender, "answer", terms=terms.as_tuple(), validator_nonce=validator_nonce, replies=replies
        )

    async def settle(
        self,
        sender: Sender,
        terms: Terms,
        validator_nonce: int,
        *,
        salt: Hash32,
        rows: Sequence[RowHashes],
        proofs: Sequence[Sequence[Hash32]],
        replies: Sequence[Hash32],
        signature: bytes,
        bundle_hash: Hash32,
    ) -> Receipt:
        """`proofs` may be empty where the verdict is paid and weights are not judged."""
        return await self._write(
            sender,
            "settle",
            terms=terms.as_tuple(),
            validator_nonce=validator_nonce,
            salt=salt,
            rows=[astuple(row) for row in rows],
            replies=replies,
            signature=signature,
            bundle_hash=bundle_hash,
            proofs=proofs,
        )

    async def judge(
        self,
        sender: Sender,
        terms: Terms,
        validator_nonce: int,
        committee: Sequence[Address],
        verdicts: Sequence[Verdict],
    ) -> Receipt:
        return await self._write(
            sender,
            "judge",
            terms=terms.as_tuple(),
            validator_nonce=validator_nonce,
            committee=committee,
            verdicts=verdicts,
        )

    async def dispute(
        self,
        sender: Sender,
        terms: Terms,
        validator_nonce: int,
        *,
        leaves: Sequence[Hash32],
        mark: RowHashes,
        other: RowHashes,
        proof: Sequence[Hash32],
    ) -> Receipt:
        return await self._write(
            sender,
            "dispute",
            terms=terms.as_tuple(),
            validator_nonce=validator_nonce,
            leaves=leaves,
            mark=astuple(mark),
            other=astuple(other),
            proof=proof,
        )

    async def poke(self, sender: Sender, terms: Terms, validator_nonce: int) -> Receipt:
        return await self._write(sender, "poke", terms=terms.as_tuple(), validator_nonce=validator_nonce)

    async def _read(self, function: str, *values: Any, at: BlockNumber | None = None) -> Any:
        data = await _explained(self.chain.call(self.address, _encode_call(function, *values), at=at))
        try:
            (value,) = abi_decode(_decodable(get_abi_output_types(_abi()[function])), data)
        except DecodingError as error:
            raise Fatal(f"what is at {self.address} does not answer like a Touchstone contract") from error
        return value

    async def _write(self, sender: Sender, function: str, **values: Any) -> Receipt:
        # By name: two arguments of one type in the wrong order would otherwise go unnoticed.
        ordered = [values[str(name)] for name in get_abi_input_names(_abi()[function])]
        return await _explained(sender.send(self.address, _encode_call(function, *ordered)))


async def _explained(call: Awaitable[T]) -> T:
    """What the call gives; the one place where a refusal in the contract's words becomes a typed one."""
    try:
        return await call
    except Reverted as refusal:
        raise explain(refusal) from None


def encode_deployment(network: Network) -> bytes:
    """The data of the transaction that deploys: the artefact's init code and the constructor's arguments."""
    return load_artifact().bytecode + _encode_arguments("constructor", network)


def parse_code(code: bytes) -> Immutables:
    """The immutables of deployed code; ValueError says in what it differs from the shipped artefact's."""
    runtime = load_artifact().runtime_bytecode
    if not code.startswith(runtime):
        same = next((i for i, (a, b) in enumerate(zip(code, runtime, strict=False)) if a != b), len(code))
        raise ValueError(f"its code of {len(code)} bytes is another, from byte {same} on")
    words = code[len(runtime) :]
    types = [*get_abi_output_types(_abi()["network"]), "uint256"]
    try:
        network, birth_chain_id = abi_decode(types, words)
    except DecodingError:
        network = None
    if network is None or abi_encode(types, [network, birth_chain_id]) != words:
        raise ValueError(f"the {len(words)} bytes after its code are not the immutables of a deployment")
    if max(network[:-1]) > MAX_SECONDS:
        raise ValueError("its immutables hold a duration that no deployment accepts")
    return Immutables(Network(*_typed_fields(Network, network)), birth_chain_id)


def decode_log(log: Log) -> ContractEvent | None:
    """The event that a log of the contract stands for; None for a log that is none of its events."""
    kind = _event_kinds().get(log.topics[0]) if log.topics else None
    if kind is None:
        return None
    inputs = _abi()[kind.__name__]["inputs"]
    in_data = [collapse_if_tuple(parameter) for parameter in inputs if not parameter["indexed"]]
    data = iter(abi_decode(_decodable(in_data), log.data))
    topics = iter(log.topics[1:])
    values = [abi_decode([entry["type"]], next(topics))[0] if entry["indexed"] else next(data) for entry in inputs]
    return kind(log, *_typed_fields(kind, values))


def gas_limits_by_selector() -> dict[bytes, int]:
    """GAS_LIMITS by the first four bytes of a call."""
    return {function_abi_to_4byte_selector(_abi()[name]): limit for name, limit in GAS_LIMITS.items()}


@cache
def _abi() -> dict[str, Any]:
    """The ABI's entries by their names, which are unique; the constructor's is its type."""
    return {entry.get("name", entry["type"]): entry for entry in load_artifact().abi}


@cache
def _event_kinds() -> dict[bytes, type[ContractEvent]]:
    return {event_abi_to_log_topic(_abi()[kind.__name__]): kind for kind in ContractEvent.__subclasses__()}


def _encode_call(function: str, *values: Any) -> bytes:
    return function_abi_to_4byte_selector(_abi()[function]) + _encode_arguments(function, *values)


def _encode_arguments(function: str, *values: Any) -> bytes:
    return abi_encode(get_abi_input_types(_abi()[function]), values)


def _decodable(types: Iterable[str]) -> list[str]:
    # A miner chooses its URL: bytes that are no UTF-8 must not stop whoever reads its registration.
    return [kind.replace("string", "bytes") for kind in types]


_TYPED: dict[Any, Callable[[Any], Any]] = {
    Address: to_checksum_address,
    str: lambda raw: raw.decode(errors="replace"),
    TaskStatus: TaskStatus,
    Terms: lambda words: Terms(*_typed_fields(Terms, words)),
    RowHashes: lambda words: RowHashes(*words),
    tuple[RowHashes, ...]: lambda rows: tuple(RowHashes(*words) for words in rows),
}
"""How a decoded ABI value becomes the type of the field that holds it, where it is not that already."""


def _typed_fields(kind: type, values: Iterable[Any]) -> list[Any]:
    hints = [hint for name, hint in get_type_hints(kind).items() if name != "log"]
    return [_TYPED.get(hint, lambda value: value)(value) for hint, value in zip(hints, values, strict=True)]
