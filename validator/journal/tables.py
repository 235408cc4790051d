"""The schema, version 3. Every row ends in `sealed`: its body, if it has one, bound to all that stands before it.

Rule kept: numbers are 64 bits wide (K6) and, in SQLite, every value has its column's type (STRICT), which the integrity
check at opening verifies.
"""

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from validator.types import Address, BlockNumber, Hash32

SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose journal it is: one key's, on one contract of one chain. Stored at creation, compared at every opening."""

    chain_id: int
    contract: Address
    validator: Address

    def __str__(self) -> str:
        return f"validator {self.validator} on contract {self.contract} of chain {self.chain_id}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last final block whose events are all recorded; another hash at that height is another chain."""

    block_number: BlockNumber
    block_hash: Hash32


class NonceState(StrEnum):
    """What has become of a nonce. FINAL and REPLACED are for ever."""

    SENT = "sent"  # Reserved; its attempts may be anywhere between here and a block.
    MINED = "mined"  # One attempt is in a block that a reorganisation can still take away.
    FINAL = "final"
    REPLACED = "replaced"  # Something other than the effect used the nonce up, for good.


_INT64: TypeEngine[int] = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SECONDS: TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")

metadata = sa.MetaData()

about = sa.Table(
    "about",
    metadata,
    sa.Column("schema_version", _INT64, primary_key=True, autoincrement=False),
    sa.Column("chain_id", _INT64, nullable=False),
    sa.Column("contract", sa.Text, nullable=False),
    sa.Column("validator", sa.Text, nullable=False),
    sa.Column("stopped_at_s", _SECONDS),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""One row. Its body is the reason of the stop."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("sequence", _INT64, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("recorded_at_s", _SECONDS, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""Counted from 1 without a gap, like effects and attempts, so that a row that is missing shows."""

effects = sa.Table(
    "effects",
    metadata,
    sa.Column("sequence", _INT64, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("caused_by", sa.ForeignKey(events.c.sequence), nullable=False, index=True),
    sa.Column("done_at_s", _SECONDS),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("sequence", _INT64, primary_key=True, autoincrement=False),
    sa.Column("tx_hash", sa.Text, nullable=False, unique=True),
    sa.Column("effect_key", sa.ForeignKey(effects.c.key), nullable=False, index=True),
    sa.Column("nonce", _INT64, nullable=False, index=True),
    sa.Column("recorded_at_s", _SECONDS, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""Signed transactions, the bytes as body, in the order of signing."""

nonces = sa.Table(
    "nonces",
    metadata,
    sa.Column("nonce", _INT64, primary_key=True, autoincrement=False),
    sa.Column("effect_key", sa.ForeignKey(effects.c.key), nullable=False, index=True),
    sa.Column("state", sa.Text, sa.CheckConstraint(f"state IN {tuple(map(str, NonceState))}"), nullable=False),
    sa.Column("tx_hash", sa.ForeignKey(attempts.c.tx_hash)),
    sa.Column("block_number", _INT64),
    sa.Column("block_hash", sa.Text),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""One journal is one key's on one chain, so the nonce alone is the key: it belongs to one effect for ever."""

sa.Index(
    "one_live_nonce_for_each_effect",
    nonces.c.effect_key,
    unique=True,
    sqlite_where=nonces.c.state != NonceState.REPLACED,
    postgresql_where=nonces.c.state != NonceState.REPLACED,
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("id", _INT64, primary_key=True, autoincrement=False),
    sa.Column("block_number", _INT64, nullable=False),
    sa.Column("block_hash", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""At most one row."""

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("sequence", _INT64, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.Text, nullable=False, unique=True),
    sa.Column("accepted_at_s", _SECONDS, nullable=False),
    sa.Column("cancelled_at_s", _SECONDS),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""What customers want, in the order of arrival; what has become of it is told by the tasks that name it."""

acceptances = sa.Table(
    "acceptances",
    metadata,
    sa.Column("sequence", _INT64, primary_key=True, autoincrement=False),
    sa.Column("nonces_below", _INT64, nullable=False),
    sa.Column("accepted_at_s", _SECONDS, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_strict=True,
)
"""Each time that an operator took the account over as it was: nonces below that are used up, by whomever."""
