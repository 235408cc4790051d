"""Whose journal the tests write, what they sign, and a short life of one task as calls on a journal."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from eth_account import Account

from tests import factories as f
from tests.factories import TASK_ID
from validator.journal import Identity, Journal
from validator.journal.transactions import Inclusion
from validator.protocol import effects as todo
from validator.protocol.commitment import keccak
from validator.types import BlockNumber

KEY = bytes(range(32))
IDENTITY = Identity(f.CHAIN_ID, f.CONTRACT, f.VALIDATOR)
OPEN, DELIVER, LOCATE = todo.OpenTask(TASK_ID), todo.DeliverDataset(TASK_ID), todo.LocateModel(TASK_ID)
PROBES = [todo.SendProbe(TASK_ID, ordinal) for ordinal in range(4)]

_ACCOUNT = Account.from_key(b"\x11" * 32)


def sign(nonce: int, *, fee_wei: int = 2_000_000_007, data: bytes = b"", chain_id: int = f.CHAIN_ID) -> bytes:
    """A signed EIP-1559 transaction; the same arguments give the same bytes."""
    transaction = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "maxFeePerGas": fee_wei,
        "maxPriorityFeePerGas": 1_000_000_000,
        "gas": 90_000,
        "value": 0,
        "data": data,
        "to": f.CONTRACT,
    }
    return bytes(_ACCOUNT.sign_transaction(transaction).raw_transaction)


def included(raw: bytes, block: int = 7) -> Inclusion:
    """In the block of that number."""
    return Inclusion(keccak(raw), BlockNumber(block), f.digest(f"block {block}"))


CALLS: Sequence[Callable[[Journal], Any]] = (
    lambda journal: journal.record(f.PLANNED, [OPEN]),
    lambda journal: journal.transactions.reserve_nonce(OPEN.key, 5),
    lambda journal: journal.transactions.record_attempt(OPEN.key, sign(5)),
    lambda journal: journal.transactions.record_attempt(OPEN.key, sign(5, fee_wei=3 * 10**9)),
    lambda journal: journal.transactions.mark_mined(5, included(sign(5))),
    lambda journal: journal.record(f.OPENED, [DELIVER]),
    lambda journal: journal.mark_done(OPEN.key),
    lambda journal: journal.transactions.mark_final(5, included(sign(5))),
    lambda journal: journal.record(f.DELIVERED, []),
    lambda journal: journal.record(f.LOCATED, PROBES),
    lambda journal: journal.record(f.ANSWERS[0], []),
    lambda journal: journal.mark_done(PROBES[0].key),
)
"""Each is one transaction; a fault may come in any of them."""


def content(journal: Journal) -> tuple[Any, ...]:
    """All that a journal tells, without its own clock."""
    return (
        list(journal.events()),
        journal.unfinished_effects(),
        journal.transactions.unfinished(),
        journal.transactions.attempts_of(OPEN.key),
    )


def digest(journal: Journal) -> str:
    """The same for the same content, in any process."""
    return hashlib.sha256(repr(content(journal)).encode()).hexdigest()
