"""EIP-712 structs of the protocol, as data for any signer; nothing here holds a key.

Rule kept: field names and order are the protocol's, so a signature made here is the one that the contract recovers.
"""

from typing import Any, NamedTuple

from eth_abi.abi import encode as abi_encode

from validator.protocol.commitment import Terms, keccak
from validator.types import Address, Hash32, TaskId, UnixSeconds, Wei


class TypedData(NamedTuple):
    """The arguments of `eth_account.messages.encode_typed_data`, less the domain."""

    types: dict[str, list[dict[str, str]]]
    message: dict[str, Any]


def domain(chain_id: int, contract: Address) -> dict[str, Any]:
    """The EIP-712 domain; `chain_id` is always the live one, never a cached or configured value (C10)."""
    return {"name": "Touchstone", "version": "1", "chainId": chain_id, "verifyingContract": contract}


def hash_domain(domain_: dict[str, Any]) -> Hash32:
    """The domain separator of EIP-712, which the contract's `domain_separator` gives too."""
    type_hash = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    hashes = [type_hash, keccak(domain_["name"].encode()), keccak(domain_["version"].encode())]
    types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    return keccak(abi_encode(types, [*hashes, domain_["chainId"], domain_["verifyingContract"]]))


def _typed(name: str, fields: str, *values: Any) -> TypedData:
    members = [dict(zip(("type", "name"), field.split(), strict=True)) for field in fields.split(",")]
    message = dict(zip((member["name"] for member in members), values, strict=True))
    return TypedData({name: members}, message)


class OrderMessage(NamedTuple):
    """What a payer agrees to before it knows the marks: limits on what a validator may open in its name."""

    validator: Address
    max_reward: Wei
    max_fee: Wei
    spec_hash: Hash32
    source_data_hash: Hash32
    min_n: int
    min_k_pay: int
    nonce: int
    expiry: UnixSeconds


def order(message: OrderMessage) -> TypedData:
    fields = (
        "address validator,uint256 maxReward,uint256 maxFee,bytes32 specHash,bytes32 sourceDataHash,"
        "uint256 minN,uint256 minKPay,uint256 nonce,uint256 expiry"
    )
    return _typed("Order", fields, *message)


def offer(terms: Terms, validator_nonce: int, expiry: UnixSeconds) -> TypedData:
    fields = "address payer,bytes32 termsHash,uint256 validatorNonce,uint256 expiry"
    return _typed("Offer", fields, terms.payer, terms.hash, validator_nonce, expiry)


def transcript(task_id: TaskId, model_hash: Hash32, marks_hash: Hash32, replies_hash: Hash32) -> TypedData:
    fields = "bytes32 taskId,bytes32 modelHash,bytes32 marksHash,bytes32 repliesHash"
    return _typed("Transcript", fields, task_id, model_hash, marks_hash, replies_hash)


def session(validator: Address, miner: Address, nonce: int, expiry: UnixSeconds) -> TypedData:
    fields = "address validator,address miner,uint256 nonce,uint256 expiry"
    return _typed("Session", fields, validator, miner, nonce, expiry)


def weights_verdict(
    task_id: TaskId, model_hash: Hash32, hits: int, coverage_low_bps: int, bundle_hash: Hash32
) -> TypedData:
    fields = "bytes32 taskId,bytes32 modelHash,uint256 hits,uint256 coverageLowBps,bytes32 bundleHash"
    return _typed("WeightsVerdict", fields, task_id, model_hash, hits, coverage_low_bps, bundle_hash)
