"""Canonical bytes: every hash that a miner, the contract or an auditor must be able to recompute.

Rule kept: one function per line of the protocol's heading "Canonical bytes", and no second implementation anywhere.
Test vectors for other implementations are in `tests/unit/protocol/vectors.json`.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak as _keccak

from validator.types import Address, Hash32, TaskId, Wei

MAX_PROOF_LENGTH = 24
MAX_HEAD_WORDS = 16
SEPARATOR = " "
WHITE_SPACE = "\t\n\v\f\r "
"""Bytes 09-0D and 20: what the protocol calls white space."""


def keccak(data: bytes) -> Hash32:
    """Keccak-256 as the EVM computes it."""
    return Hash32(_keccak(data))


def tag(name: str) -> Hash32:
    """Domain-separation tag `keccak256("Touchstone.<name>.v1")`."""
    return keccak(f"Touchstone.{name}.v1".encode())


PROMPT_TAG, HEAD_TAG, TAIL_TAG, ROW_TAG = tag("P"), tag("H"), tag("T"), tag("ROW")
TERMS_TAG, TASK_TAG, COMMIT_TAG, MODEL_TAG = tag("TERMS"), tag("TASK"), tag("COMMIT"), tag("MODEL")


@dataclass(frozen=True, slots=True)
class Row:
    """One training example, text exactly as sent."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class RowHashes:
    """The three hashes that stand for a row on chain; `leaf` is `row_leaf`."""

    prompt_hash: Hash32
    head_hash: Hash32
    tail_hash: Hash32

    @property
    def leaf(self) -> Hash32:
        return keccak(abi_encode(["bytes32"] * 4, [ROW_TAG, self.prompt_hash, self.head_hash, self.tail_hash]))


def split_head(response: str, w: int) -> tuple[str, str]:
    """Split a response into its first `w` words and what follows the separator after them.

    A response of at most `w` words is all head, with an empty tail. Words are split on the byte 0x20 alone.
    """
    words = response.split(SEPARATOR, w)
    return SEPARATOR.join(words[:w]), words[w] if len(words) > w else ""


def _salted(tag_: Hash32, dataset_salt: Hash32, text: str) -> Hash32:
    return keccak(abi_encode(["bytes32"] * 3, [tag_, dataset_salt, keccak(text.encode())]))


def hash_prompt(dataset_salt: Hash32, prompt: str) -> Hash32:
    return _salted(PROMPT_TAG, dataset_salt, prompt)


def hash_head(dataset_salt: Hash32, head: str) -> Hash32:
    """`headHash` of a row and `replyHash` of a reply: equal exactly when the reply is a hit."""
    return _salted(HEAD_TAG, dataset_salt, head)


def hash_row(dataset_salt: Hash32, row: Row, w: int) -> RowHashes:
    head, tail = split_head(row.response, w)
    return RowHashes(
        hash_prompt(dataset_salt, row.prompt), hash_head(dataset_salt, head), _salted(TAIL_TAG, dataset_salt, tail)
    )


class MerkleTree:
    """OpenZeppelin's StandardMerkleTree: leaves hashed again and sorted, sorted pairs, duplicates kept."""

    def __init__(self, leaves: Iterable[Hash32]) -> None:
        nodes = sorted(keccak(leaf) for leaf in leaves)
        if not nodes:
            raise ValueError("a Merkle tree needs at least one leaf")
        count = len(nodes)
        tree = [Hash32(b"")] * (count - 1) + nodes[::-1]
        for i in range(count - 2, -1, -1):
            tree[i] = _hash_pair(tree[2 * i + 1], tree[2 * i + 2])
        self._tree = tree
        self._index = {node: i for i, node in enumerate(tree) if i >= count - 1}

    @property
    def root(self) -> Hash32:
        return self._tree[0]

    def proof(self, leaf: Hash32) -> list[Hash32]:
        """Sibling hashes from the leaf to the root; KeyError if the leaf is not in the tree."""
        i = self._index[keccak(leaf)]
        path = []
        while i > 0:
            path.append(self._tree[i + 1 if i % 2 else i - 1])
            i = (i - 1) // 2
        return path


def verify_proof(root: Hash32, leaf: Hash32, proof: Sequence[Hash32]) -> bool:
    """Whether `leaf` is proved under `root`; proofs of more than 24 hashes are never valid."""
    node = keccak(leaf)
    for sibling in proof:
        node = _hash_pair(node, sibling)
    return len(proof) <= MAX_PROOF_LENGTH and node == root


def _hash_pair(a: Hash32, b: Hash32) -> Hash32:
    return keccak(a + b if a < b else b + a)


@dataclass(frozen=True)
class Terms:
    """What both sides agree to in `open_task`, in the order of the protocol's heading "Terms". Amounts in wei."""

    payer: Address
    validator: Address
    miner: Address
    miner_epoch: int
    reward: Wei
    fee: Wei
    miner_bond: Wei
    availability_bond: Wei
    validator_bond: Wei
    answer_fee: Wei
    scheme: bytes
    w: int
    n: int
    k_pay: int
    k_slash: int
    slashing: bool
    max_tokens: int
    dataset_root: Hash32
    commitment: Hash32
    spec_hash: Hash32
    weights: int
    min_coverage_bps: int
    committee_hash: Hash32
    quorum: int
    accept_seconds: int
    train_seconds: int
    submitted_seconds: int
    challenged_seconds: int
    answered_seconds: int
    judging_seconds: int
    dispute_seconds: int

    def as_tuple(self) -> tuple[Any, ...]:
        """The struct as the contract's ABI takes it."""
        return astuple(self)

    @cached_property
    def hash(self) -> Hash32:
        """`termsHash`."""
        return keccak(abi_encode(["bytes32", *TERMS_ABI_TYPES], [TERMS_TAG, *self.as_tuple()]))


_ABI_TYPE_OF: dict[Any, str] = {
    Address: "address",
    Wei: "uint256",
    int: "uint256",
    bool: "bool",
    bytes: "bytes32",
    Hash32: "bytes32",
}
TERMS_ABI_TYPES = [_ABI_TYPE_OF[field.type] for field in fields(Terms)]


def encode_scheme(name: str) -> bytes:
    """A scheme's ASCII name as the bytes32 of the terms; at most 32 characters."""
    return name.encode("ascii").ljust(32, b"\0")


def decode_scheme(scheme: bytes) -> str:
    return scheme.rstrip(b"\0").decode("ascii")


def hash_task_id(
    chain_id: int, contract: Address, validator: Address, validator_nonce: int, terms_hash: Hash32
) -> TaskId:
    types = ["bytes32", "uint256", "address", "address", "uint256", "bytes32"]
    return TaskId(keccak(abi_encode(types, [TASK_TAG, chain_id, contract, validator, validator_nonce, terms_hash])))


def hash_commitment(
    *,
    chain_id: int,
    contract: Address,
    validator: Address,
    miner: Address,
    miner_epoch: int,
    dataset_root: Hash32,
    marks_hash: Hash32,
    salt: Hash32,
) -> Hash32:
    types = ["bytes32", "uint256", "address", "address", "address", "uint256", "bytes32", "bytes32", "bytes32"]
    values = [COMMIT_TAG, chain_id, contract, validator, miner, miner_epoch, dataset_root, marks_hash, salt]
    return keccak(abi_encode(types, values))


def hash_marks(leaves: Sequence[Hash32]) -> Hash32:
    """`marksHash` of the marked rows' leaves, which must be strictly ascending."""
    if any(a >= b for a, b in itertools.pairwise(leaves)):
        raise ValueError("row leaves must be strictly ascending")
    return keccak(abi_encode(["bytes32[]"], [list(leaves)]))


def hash_replies(pairs: Sequence[tuple[Hash32, Hash32]]) -> Hash32:
    """`repliesHash` of (promptHash, replyHash) pairs in ascending order of their row leaves."""
    return keccak(abi_encode(["(bytes32,bytes32)[]"], [list(pairs)]))


class ModelFile(NamedTuple):
    """One file of returned weights; `sha256` is its digest."""

    path: str
    size_bytes: int
    sha256: bytes


def hash_model_files(files: Iterable[ModelFile]) -> Hash32:
    """`modelHash` of returned weights, sorted by path here."""
    return keccak(abi_encode(["bytes32", "(string,uint256,bytes32)[]"], [MODEL_TAG, sorted(files)]))


def hash_served_model(model_id: str) -> Hash32:
    """`modelHash` where no weights are returned: of the served model's id."""
    return keccak(model_id.encode())


def hash_committee(committee: Iterable[Address]) -> Hash32:
    """`committeeHash` of who may judge returned weights, sorted here."""
    return keccak(abi_encode(["address[]"], [sorted(committee, key=lambda member: int(member, 16))]))


def hash_spec(spec: str) -> Hash32:
    """`specHash` of the training spec's compact JSON."""
    return keccak(spec.encode())
