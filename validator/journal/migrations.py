"""From the tables of older programs to ours (P14), in one transaction: a crash on the way changes nothing.

`tests/unit/journal/` keeps a journal of every version that was ever written.
"""

import json
from dataclasses import asdict

import sqlalchemy as sa

from validator.errors import BadInput
from validator.journal import tables
from validator.journal.codec import decode_event, read_transaction
from validator.journal.sealing import Box
from validator.journal.tables import SCHEMA_VERSION, Identity
from validator.protocol.commitment import hash_task_id
from validator.protocol.events import Event, TaskPlanned


def migrate(connection: sa.Connection, box: Box, version: int, identity: Identity) -> None:
    """Bring a journal of an older version to SCHEMA_VERSION; BadInput if it is another key's or validator's."""
    match version:
        case 1:
            _from_1(connection, box, identity)
        case 2:
            _from_2(connection, box)
        case _:
            raise BadInput(f"the journal {box.name} has schema version {version}, which no program has written")


def _from_2(connection: sa.Connection, box: Box) -> None:
    """Version 2 had no cursor and no requests, and no event that is new since."""
    tables.metadata.create_all(connection)
    about = dict(connection.execute(sa.select(tables.about)).mappings().one())
    reason = box.unseal_row(tables.about, about)
    clear = {name: value for name, value in about.items() if name != "sealed"} | {"schema_version": SCHEMA_VERSION}
    connection.execute(sa.update(tables.about).values(box.seal_row(tables.about, clear, reason)))


def _from_1(connection: sa.Connection, box: Box, identity: Identity) -> None:
    """Version 1 sealed bodies only, bound to less, left effects in clear, and did not say whose it was."""
    old = sa.MetaData()
    events, effects, transactions, _about = (
        connection.execute(sa.select(sa.Table(name, old, autoload_with=connection)).order_by(sa.text("rowid")))
        .mappings()
        .all()
        for name in ("events", "effects", "transactions", "about")
    )
    old.drop_all(connection)
    tables.metadata.create_all(connection)

    def insert(table: sa.Table, body: bytes = b"", **clear: object) -> None:
        connection.execute(sa.insert(table).values(box.seal_row(table, clear, body)))

    insert(tables.about, schema_version=SCHEMA_VERSION, stopped_at_s=None, **asdict(identity))
    recorded_at_s = {event["sequence"]: event["recorded_at_s"] for event in events}
    for event in events:
        body = box.unseal(event["sealed_body"], event["kind"])
        if event["kind"] == TaskPlanned.__name__:
            # There were only miners over plain HTTP.
            body = json.dumps(json.loads(body) | {"miner_tls_key_hash": bytes(32).hex()}).encode()
        if not _is_owned_by(identity, decode_event(event["kind"], body)):
            raise BadInput(f"the journal {box.name} holds tasks of another than {identity}")
        insert(tables.events, body, **{name: event[name] for name in ("sequence", "task_id", "kind", "recorded_at_s")})
    for sequence, effect in enumerate(effects, 1):
        cause = effect["caused_by"]
        insert(
            tables.effects,
            effect["body"].encode(),
            sequence=sequence,
            key=effect["key"],
            caused_by=cause,
            done_at_s=recorded_at_s[cause] if effect["is_done"] else None,  # Version 1 did not say when.
        )
    for sequence, transaction in enumerate(transactions, 1):
        raw = box.unseal(transaction["sealed_raw"], transaction["effect_key"])
        clear = {name: transaction[name] for name in ("tx_hash", "effect_key", "recorded_at_s")}
        insert(tables.attempts, raw, sequence=sequence, nonce=read_transaction(raw).nonce, **clear)


def _is_owned_by(identity: Identity, event: Event) -> bool:
    """A task's id binds chain, contract and validator (protocol, "Canonical bytes")."""
    if not isinstance(event, TaskPlanned):
        return True
    place = identity.chain_id, identity.contract, identity.validator
    return event.task_id == hash_task_id(*place, event.validator_nonce, event.terms.hash)
