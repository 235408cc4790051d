"""Actors by role, and a round as its validator holds it: real rows, their Merkle tree, the marks among them.

Rule kept: every hash comes from `validator.protocol`, so each test ties the contract to the Python side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount

from validator.protocol import typed_data
from validator.protocol.commitment import (
    MerkleTree,
    Row,
    RowHashes,
    Terms,
    hash_marks,
    hash_replies,
    hash_row,
    keccak,
)
from validator.protocol.typed_data import TypedData
from validator.types import Hash32, TaskId

NOBODY = "0x" + "00" * 20
NO_HASH = Hash32(bytes(32))
W = 4
DATASET_SALT = keccak(b"dataset salt")
MODEL_HASH = keccak(b"model")
BUNDLE_HASH = keccak(b"bundle")
SOURCE_DATA_HASH = keccak(b"source data")
DURATIONS = [field.name for field in fields(Terms) if field.name.endswith("_seconds")]


def account_of(role: str) -> LocalAccount:
    return Account.from_key(keccak(role.encode()))


PAYER, VALIDATOR, MINER, EVIDENCE, AUDITOR, GUARDIAN, OUTSIDER = (
    account_of(role) for role in ("payer", "validator", "miner", "evidence", "auditor", "guardian", "outsider")
)
EVERYBODY = (PAYER, VALIDATOR, MINER, AUDITOR, GUARDIAN, OUTSIDER)
COMMITTEE = sorted((account_of(f"committee {i}") for i in range(3)), key=lambda member: int(member.address, 16))
COMMITTEE_HASH = keccak(encode(["address[]"], [[member.address for member in COMMITTEE]]))


@dataclass(frozen=True)
class Round:
    """One task as its validator holds it: the terms and what opens their commitment."""

    terms: Terms
    nonce: int
    task_id: TaskId
    salt: Hash32
    marks: list[RowHashes]
    tree: MerkleTree
    contradiction: RowHashes
    """A row of the dataset with the prompt of `marks[0]` and another head."""

    @property
    def leaves(self) -> list[Hash32]:
        return [mark.leaf for mark in self.marks]

    @property
    def proofs(self) -> list[list[Hash32]]:
        return [self.tree.proof(leaf) for leaf in self.leaves]

    def replies(self, hits: int) -> list[Hash32]:
        """Reply hashes of which the first `hits` are hits and the rest misses."""
        return [mark.head_hash if i < hits else NO_HASH for i, mark in enumerate(self.marks)]

    def transcript(self, replies: Sequence[Hash32], model_hash: Hash32 = MODEL_HASH) -> TypedData:
        pairs = [(mark.prompt_hash, reply) for mark, reply in zip(self.marks, replies, strict=True)]
        return typed_data.transcript(self.task_id, model_hash, hash_marks(self.leaves), hash_replies(pairs))


def make_rows(n: int, k: int, seed: str) -> tuple[list[RowHashes], MerkleTree, RowHashes]:
    rows = [hash_row(DATASET_SALT, Row(f"{seed} prompt {i}", f"a {i} b c and the rest"), W) for i in range(k)]
    marks = sorted(rows[:n], key=lambda row: row.leaf)
    contradiction = RowHashes(marks[0].prompt_hash, keccak(b"another head"), marks[0].tail_hash)
    return marks, MerkleTree(row.leaf for row in [*rows, contradiction]), contradiction
