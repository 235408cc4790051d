"""What customers ask for: a request with its signed Orders, and whether it can be taken.

Rules kept: a request is fixed by its id, the hash of all that it says; one Order is one attempt, and only one is open
at any time, so that a payer needs credit for one; what could not be opened later is not taken in now.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from pydantic import TypeAdapter, ValidationError

from validator.amounts import MAX_WEI, describe_ether
from validator.config import DAY_S, HOUR_S
from validator.edges.keys import recover_typed_data
from validator.errors import BadInput, first_problem
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.schemes import make_scheme
from validator.plan.spec import MAX_SPEC_CHARACTERS
from validator.plan.terms import MAX_PROBES, choose_thresholds, compute_fee
from validator.protocol import typed_data
from validator.protocol.commitment import hash_spec, keccak
from validator.protocol.state import Weights
from validator.protocol.typed_data import OrderMessage
from validator.protocol.verdict import Thresholds
from validator.protocol.wire import strict_json
from validator.types import Address, Hash32, UnixSeconds, Wei

MAX_ATTEMPTS = 16
OPENING_MARGIN_S = HOUR_S
"""How long before its expiry an Order must still open: planting, waiting for a place and the chain take time."""


class SignedOrder(NamedTuple):
    """One attempt that the payer consents to."""

    order: OrderMessage
    signature: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A customer's wish. `reward_wei` is what the miner gets if it is paid; `spec` the training spec's JSON;
    `rules` say what in the data is never altered."""

    __pydantic_config__: ClassVar[Any] = {"ser_json_bytes": "hex", "val_json_bytes": "hex", "extra": "forbid"}

    payer: Address
    source_data_hash: Hash32
    spec: str
    base_model: str
    reward_wei: Wei
    scheme: str
    probes: int
    weights: Weights
    is_reusing_revealed: bool
    orders: tuple[SignedOrder, ...]
    rules: AlterationRules = ALL_PROTECTED

    @property
    def request_id(self) -> Hash32:
        return keccak(encode_request(self))

    @property
    def thresholds(self) -> Thresholds:
        return choose_request_thresholds(self.probes)

    @property
    def cost_wei(self) -> Wei:
        """What one attempt takes from the payer's credit: reward and fee."""
        return Wei(self.reward_wei + compute_fee(self.reward_wei))


_ADAPTER = TypeAdapter(Request)


def choose_request_thresholds(probes: int) -> Thresholds:
    """The protocol's zones; slashing where a false slash is out of the question (protocol, "Defaults")."""
    return choose_thresholds(probes, slashing=probes == MAX_PROBES)


def encode_request(request: Request) -> bytes:
    """The canonical bytes: the same for the same content."""
    return _ADAPTER.dump_json(request)


def decode_request(body: bytes) -> Request:
    """BadInput if it is no request."""
    try:
        return _ADAPTER.validate_json(body)
    except ValidationError as error:
        raise BadInput(f"not a request: {first_problem(error.errors())}") from None


def choose_expiry(now_s: int, attempts: int, accept_seconds: int) -> UnixSeconds:
    """When Orders signed now should expire: each attempt may end only when its miner has let it lapse."""
    return UnixSeconds(now_s + DAY_S + OPENING_MARGIN_S + attempts * accept_seconds)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides about a request beside itself. Credit is what no other request of the payer needs."""

    domain: Mapping[str, Any]
    validator: Address
    now_s: int
    accept_seconds: int
    min_reward_wei: int
    credit_wei: int
    used_nonces: Collection[int]


def check_request(request: Request, known: Circumstances) -> None:
    """BadInput with the first thing that is wrong, so that nothing is taken in that could not be opened."""
    make_scheme(request.scheme)
    thresholds = request.thresholds
    _check_spec(request)
    if not max(known.min_reward_wei, 1) <= request.reward_wei <= MAX_WEI:
        least = describe_ether(max(known.min_reward_wei, 1))
        raise BadInput(f"the reward is at least {least} here, not {describe_ether(request.reward_wei)}")
    if not 1 <= len(request.orders) <= MAX_ATTEMPTS:
        raise BadInput(f"a request has 1 to {MAX_ATTEMPTS} Orders, one for each attempt, not {len(request.orders)}")
    for number, signed in enumerate(request.orders):
        try:
            _check_order(request, signed, known, thresholds, number)
        except ValueError as error:
            raise BadInput(f"Order {number + 1} of {len(request.orders)} {error}") from None
    nonces = [signed.order.nonce for signed in request.orders]
    if len(set(nonces)) < len(nonces):
        raise BadInput("two Orders have the same nonce: each can open one task")
    if known.credit_wei < request.cost_wei:
        raise BadInput(
            f"the payer's free credit is {describe_ether(known.credit_wei)}, an attempt takes "
            f"{describe_ether(request.cost_wei)}: deposit the rest (--deposit)"
        )


def _check_spec(request: Request) -> None:
    if len(request.spec) > MAX_SPEC_CHARACTERS:
        raise BadInput(f"the spec has {len(request.spec)} characters, at most {MAX_SPEC_CHARACTERS} are allowed")
    try:
        spec = strict_json(request.spec.encode())
        is_compact = json.dumps(spec, sort_keys=True, separators=(",", ":")) == request.spec
    except ValueError as error:
        raise BadInput(f"the spec is {error}") from None
    if not isinstance(spec, dict) or not is_compact:
        raise BadInput("the spec is not compact JSON of an object with sorted keys")
    if spec.get("base_model") != request.base_model:
        raise BadInput(f"the spec names another base model than the request's {request.base_model!r}")


def _check_order(
    request: Request, signed: SignedOrder, known: Circumstances, thresholds: Thresholds, number: int
) -> None:
    """ValueError with what is wrong with one Order."""
    order = signed.order
    numbers = (order.max_reward, order.max_fee, order.min_n, order.min_k_pay, order.nonce, order.expiry)
    if not all(0 <= value < 2**256 for value in numbers) or len(order.spec_hash) != 32:
        raise ValueError("has a value that no uint256 or bytes32 holds")
    if order.validator != known.validator:
        raise ValueError(f"is for {order.validator}, this validator is {known.validator}")
    if order.spec_hash != hash_spec(request.spec):
        raise ValueError("is for another spec")
    if order.source_data_hash != request.source_data_hash:
        raise ValueError("is for another dataset (D5)")
    if order.max_reward < request.reward_wei or order.max_fee < compute_fee(request.reward_wei):
        raise ValueError("allows less than the reward and the fee")
    if order.min_n > thresholds.n or order.min_k_pay > thresholds.k_pay:
        raise ValueError(f"wants a harder test than {thresholds.k_pay} hits of {thresholds.n}")
    needed_s = known.now_s + OPENING_MARGIN_S + number * known.accept_seconds
    if order.expiry < needed_s:
        raise ValueError(f"expires {needed_s - order.expiry} s before it is sure to have been used")
    if order.nonce in known.used_nonces:
        raise ValueError(f"has the nonce {order.nonce}, which is used or cancelled")
    if recover_typed_data(dict(known.domain), typed_data.order(order), signed.signature) != request.payer:
        raise ValueError(f"is not signed by {request.payer}, for chain {known.domain['chainId']} and this contract")
