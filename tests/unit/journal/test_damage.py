"""K4: what is damaged, swapped, moved or missing is refused in one line, or harmless; nothing else ever comes of it."""

import contextlib
import random
import shutil

import pytest

from tests import factories as f
from tests.unit.journal.scenario import CALLS, DELIVER, IDENTITY, KEY, OPEN, PROBES, content, sign
from validator.errors import BadInput, Fatal
from validator.journal import Journal

FLIPS = 200
SEED = 1


@pytest.fixture
def written(journal):
    """A closed journal with rows in every table."""
    for call in CALLS:
        call(journal)
    journal.transactions.reserve_nonce(DELIVER.key, 5)
    journal.transactions.record_attempt(PROBES[0].key, sign(9))
    journal.close()


SWAP = "UPDATE {0} SET sealed = (SELECT other.sealed FROM {0} AS other WHERE other.{1} = {3}) WHERE {1} = {2}"


@pytest.mark.parametrize(
    "meddling",
    [
        SWAP.format("events", "sequence", 1, 2),
        SWAP.format("effects", "sequence", 3, 4),
        SWAP.format("attempts", "sequence", 1, 2),
        SWAP.format("nonces", "nonce", 5, 6),
        "UPDATE events SET sequence = 99 WHERE sequence = 5",
        "UPDATE events SET task_id = '0x00'",
        "UPDATE events SET kind = 'TaskClosed' WHERE sequence = 2",
        "UPDATE events SET recorded_at_s = 0 WHERE sequence = 2",
        f"UPDATE effects SET done_at_s = NULL WHERE key = '{OPEN.key}'",
        f"UPDATE effects SET done_at_s = 1 WHERE key = '{DELIVER.key}'",
        f"UPDATE effects SET caused_by = 1 WHERE key = '{DELIVER.key}'",
        f"UPDATE effects SET key = '{OPEN.key}/2' WHERE key = '{PROBES[1].key}'",
        f"UPDATE attempts SET effect_key = '{DELIVER.key}'",
        "UPDATE attempts SET nonce = nonce + 1",
        "UPDATE nonces SET nonce = 77 WHERE nonce = 6",
        "UPDATE nonces SET state = 'sent' WHERE nonce = 5",
        "UPDATE nonces SET block_number = 8 WHERE nonce = 5",
        "UPDATE nonces SET block_hash = '0x00' WHERE nonce = 5",
        "UPDATE about SET stopped_at_s = 1",
        "DELETE FROM events WHERE sequence = 3",
        f"DELETE FROM effects WHERE key = '{PROBES[1].key}'",
        "DELETE FROM attempts WHERE sequence = 2",
        "DELETE FROM about",
        "INSERT INTO about SELECT schema_version - 1, chain_id, contract, validator, stopped_at_s, sealed FROM about",
    ],
)
def test_rows_that_are_changed_swapped_moved_or_missing_are_noticed(written, place, execute, meddling):
    execute(meddling)
    with pytest.raises(BadInput, match="damaged"):
        Journal(place, KEY, IDENTITY)


def test_a_flipped_bit_is_refused_or_harmless(path):
    """After every flip of a seeded sample the journal is refused, or tells and does what it did before."""
    journal = Journal(path, KEY, IDENTITY)
    for call in CALLS:
        call(journal)
    expected = content(journal)
    journal.close()
    original = path.read_bytes()
    dice = random.Random(SEED)
    refusals = []
    for bit in dice.sample(range(8 * len(original)), FLIPS):
        damaged = bytearray(original)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            journal = Journal(path, KEY, IDENTITY)
        except BadInput as error:
            refusals.append(str(error))
            continue
        assert content(journal) == expected, bit
        with contextlib.suppress(Fatal):
            assert journal.record(f.ACCEPTED, [OPEN]) == [], bit
        journal.close()
    assert len(refusals) > FLIPS / 10
    assert all(len(refusal.splitlines()) == 1 and str(path) in refusal for refusal in refusals)


def test_a_flipped_bit_in_the_log_of_a_crash_costs_the_end_at_most(path, tmp_path):
    """SQLite ends its log at the first frame that is damaged: what is left is the journal as it was a moment before."""
    journal = Journal(path, KEY, IDENTITY)
    told = [content(journal)]
    for call in CALLS:
        call(journal)
        told.append(content(journal))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    log = path.with_name("journal.sqlite-wal")
    saved = {file.name: file.read_bytes() for file in (path, log)}
    journal.close()
    dice = random.Random(SEED)
    for bit in dice.sample(range(8 * len(saved[log.name])), 60):
        damaged = bytearray(saved[log.name])
        damaged[bit // 8] ^= 1 << bit % 8
        for name, data in (saved | {log.name: bytes(damaged)}).items():
            (crashed / name).write_bytes(data)
            (crashed / name).chmod(0o600)
        journal = Journal(crashed / path.name, KEY, IDENTITY)
        assert content(journal) in told
        journal.close()
        shutil.rmtree(crashed)
        crashed.mkdir()
