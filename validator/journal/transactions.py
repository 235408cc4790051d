"""What a transaction manager must not forget: which nonce is whose, every byte that was signed, where it was mined.

Rules kept: a nonce belongs to one effect for ever, and an effect has one that can still come true; signed bytes are
here before they are broadcast (P3); nonce and fees are read from those bytes, so that what the journal says is what was
signed. This decides nothing: when to send, replace or give up is the caller's.
"""

import time
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from validator.errors import Fatal, IllegalEvent
from validator.journal.codec import SignedTransaction, read_transaction
from validator.journal.store import Contradiction, Row, Store
from validator.journal.tables import NonceState, acceptances, attempts, effects, nonces
from validator.types import BlockNumber, EffectKey, Hash32


class Included(Protocol):
    """Which attempt is mined, and in which block; a receipt says so too."""

    @property
    def tx_hash(self) -> Hash32: ...
    @property
    def block_number(self) -> BlockNumber: ...
    @property
    def block_hash(self) -> Hash32: ...


@dataclass(frozen=True, slots=True)
class Inclusion:
    """As it is written; another hash at that height means that it no longer holds."""

    tx_hash: Hash32
    block_number: BlockNumber
    block_hash: Hash32


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One nonce: whose it is, what was signed for it, oldest first, and what has become of it."""

    nonce: int
    effect_key: EffectKey
    state: NonceState
    inclusion: Inclusion | None
    attempts: tuple[SignedTransaction, ...]


def read_attempts(store: Store, of: sa.ColumnElement[bool]) -> tuple[SignedTransaction, ...]:
    """What was signed, oldest first; inside a transaction of the store."""
    return tuple(read_transaction(row.body) for row in store.rows(attempts, of))


class TransactionLog:
    """The nonces of the journal's key on the journal's chain, and everything that was signed with them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def reserve_nonce(self, effect_key: EffectKey, mined_count: int) -> int:
        """The nonce of this effect: the one that it has, or the next that nothing was ever reserved or signed with.

        `mined_count` is the chain's own count, `eth_getTransactionCount` at `latest`: no nonce below it is given out.
        An effect gets another nonce only when something else has used its own up (REPLACED).
        """
        with self._store.writing():
            live = self._store.row(nonces, nonces.c.effect_key == effect_key, nonces.c.state != NonceState.REPLACED)
            if live is not None:
                return int(live.clear["nonce"])
            self._check_known(effect_key)
            nonce = self._next_nonce(at_least=mined_count)
            self._store.insert(
                nonces,
                nonce=nonce,
                effect_key=effect_key,
                state=NonceState.SENT,
                tx_hash=None,
                block_number=None,
                block_hash=None,
            )
            return nonce

    def record_attempt(self, effect_key: EffectKey, raw: bytes) -> SignedTransaction:
        """Write signed bytes before they are broadcast; the same bytes again change nothing (P4).

        Bytes or a nonce that are another effect's stop the journal. A nonce that nobody has reserved is taken as it
        is: a sender may count its own.
        """
        transaction = read_transaction(raw)
        if transaction.chain_id != self._store.identity.chain_id:
            raise Fatal(f"a transaction for chain {transaction.chain_id} was signed")
        with self._store.writing():
            known = self._store.row(attempts, attempts.c.tx_hash == _hex(transaction.tx_hash))
            owner = known or self._store.row(nonces, nonces.c.nonce == transaction.nonce)
            if owner is not None and owner.clear["effect_key"] != effect_key:
                raise Contradiction(
                    f"nonce {transaction.nonce} belongs to {owner.clear['effect_key']} and was signed for {effect_key}"
                )
            if known is None:
                self._check_known(effect_key)
                self._store.insert(
                    attempts,
                    raw,
                    sequence=self._store.next(attempts.c.sequence),
                    tx_hash=_hex(transaction.tx_hash),
                    effect_key=effect_key,
                    nonce=transaction.nonce,
                    recorded_at_s=time.time(),
                )
        return transaction

    def mark_mined(self, nonce: int, inclusion: Included) -> None:
        """An attempt is in a block, or after a reorganisation in another one."""
        self._move(nonce, NonceState.MINED, inclusion)

    def mark_unmined(self, nonce: int) -> None:
        """The block is gone: the attempts are on their way again."""
        self._move(nonce, NonceState.SENT)

    def mark_final(self, nonce: int, inclusion: Included) -> None:
        """The block that an attempt is in is final."""
        self._move(nonce, NonceState.FINAL, inclusion)

    def mark_replaced(self, nonce: int) -> None:
        """The chain has used the nonce up for good, and not for what the effect wanted."""
        self._move(nonce, NonceState.REPLACED)

    def unfinished(self) -> list[Outgoing]:
        """Every nonce that is neither FINAL nor REPLACED, in ascending order."""
        with self._store.transaction():
            rows = self._store.rows(nonces, nonces.c.state.in_([NonceState.SENT, NonceState.MINED]))
            return [self._outgoing(row) for row in rows]

    def live(self, effect_key: EffectKey) -> Outgoing | None:
        """The nonce of an effect that can still come true or has, if there is one."""
        with self._store.transaction():
            row = self._store.row(nonces, nonces.c.effect_key == effect_key, nonces.c.state != NonceState.REPLACED)
            return self._outgoing(row) if row is not None else None

    def next_nonce(self) -> int:
        """One more than the highest that was ever reserved, signed with or accepted as used; 0 if none ever was."""
        with self._store.transaction():
            return self._next_nonce(at_least=0)

    def accept_foreign(self, mined_count: int) -> None:
        """An operator's explicit act, before clearing the stop: what the chain has counted is used up, by whomever.

        `mined_count` is the chain's own count. No nonce below it is given out; what was sent with one and proves not to
        be mined is REPLACED.
        """
        with self._store.transaction():
            self._store.insert(
                acceptances,
                sequence=self._store.next(acceptances.c.sequence),
                nonces_below=mined_count,
                accepted_at_s=time.time(),
            )

    def accepted_below(self) -> int:
        """The highest count that was ever accepted; 0 if none was."""
        with self._store.transaction():
            return self._accepted_below()

    def _accepted_below(self) -> int:
        return max((row.clear["nonces_below"] for row in self._store.rows(acceptances)), default=0)

    def _next_nonce(self, at_least: int) -> int:
        return self._store.next(nonces.c.nonce, attempts.c.nonce, at_least=max(at_least, self._accepted_below()))

    def attempts_of(self, effect_key: EffectKey) -> tuple[SignedTransaction, ...]:
        """Everything that was ever signed for an effect, oldest first, whatever its nonce."""
        with self._store.transaction():
            return read_attempts(self._store, attempts.c.effect_key == effect_key)

    def _outgoing(self, row: Row) -> Outgoing:
        return Outgoing(
            row.clear["nonce"],
            EffectKey(row.clear["effect_key"]),
            NonceState(row.clear["state"]),
            _inclusion(row),
            read_attempts(self._store, attempts.c.nonce == row.clear["nonce"]),
        )

    def _move(self, nonce: int, state: NonceState, inclusion: Included | None = None) -> None:
        with self._store.writing():
            row = self._store.row(nonces, nonces.c.nonce == nonce)
            if row is None or state not in _MOVES[NonceState(row.clear["state"])]:
                raise IllegalEvent(f"nonce {nonce} is {row.clear['state'] if row else 'free'} and cannot be {state}")
            if inclusion is not None and inclusion.tx_hash not in {
                attempt.tx_hash for attempt in read_attempts(self._store, attempts.c.nonce == nonce)
            }:
                raise IllegalEvent(f"{_hex(inclusion.tx_hash)} was never signed for nonce {nonce}")
            self._store.update(
                nonces,
                row,
                state=state,
                tx_hash=_hex(inclusion.tx_hash) if inclusion else None,
                block_number=inclusion.block_number if inclusion else None,
                block_hash=_hex(inclusion.block_hash) if inclusion else None,
            )

    def _check_known(self, effect_key: EffectKey) -> None:
        if self._store.row(effects, effects.c.key == effect_key) is None:
            raise IllegalEvent(f"a transaction for {effect_key}, which is no effect")


_MOVES = {
    NonceState.SENT: {NonceState.MINED, NonceState.FINAL, NonceState.REPLACED},
    NonceState.MINED: {NonceState.MINED, NonceState.SENT, NonceState.FINAL},
    NonceState.FINAL: set(),
    NonceState.REPLACED: set(),
}


def _inclusion(row: Row) -> Inclusion | None:
    if row.clear["tx_hash"] is None:
        return None
    tx_hash, block_hash = (Hash32(bytes.fromhex(row.clear[name][2:])) for name in ("tx_hash", "block_hash"))
    return Inclusion(tx_hash, row.clear["block_number"], block_hash)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
