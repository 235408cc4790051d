"""A nonce belongs to one effect for ever, what is signed is known before it leaves, and its fate is kept."""

import pytest
import sqlalchemy as sa

from tests import factories as f
from tests.factories import digest
from tests.unit.journal.scenario import DELIVER, IDENTITY, KEY, LOCATE, OPEN, included, sign
from validator.errors import Fatal, IllegalEvent
from validator.journal import Journal
from validator.journal.tables import NonceState
from validator.journal.transactions import Inclusion, Outgoing
from validator.protocol.commitment import keccak
from validator.types import BlockNumber, EffectKey


@pytest.fixture
def log(journal):
    """The transaction log of a journal that knows three effects."""
    journal.record(f.PLANNED, [OPEN, DELIVER, LOCATE])
    return journal.transactions


def outgoing(log, nonce):
    return next(entry for entry in log.unfinished() if entry.nonce == nonce)


def test_an_effect_keeps_its_nonce_and_no_other_gets_it(log):
    assert log.reserve_nonce(OPEN.key, 7) == 7
    assert log.reserve_nonce(DELIVER.key, 7) == 8
    assert log.reserve_nonce(OPEN.key, 9) == 7, "however far the chain has come meanwhile"
    assert log.reserve_nonce(LOCATE.key, 12) == 12, "what the chain has counted is used up, by whomever"


def test_nonces_survive_a_restart(place):
    """P4, P8: the chain's own count may still be behind what has left this machine."""
    journal = Journal(place, KEY, IDENTITY)
    journal.record(f.PLANNED, [OPEN, DELIVER])
    assert journal.transactions.reserve_nonce(OPEN.key, 0) == 0
    journal.close()
    again = Journal(place, KEY, IDENTITY)
    assert again.transactions.reserve_nonce(DELIVER.key, 0) == 1
    assert again.transactions.reserve_nonce(OPEN.key, 0) == 0
    again.close()


def test_what_was_signed_without_a_reservation_is_not_given_out(log):
    log.record_attempt(OPEN.key, sign(4))
    assert log.reserve_nonce(DELIVER.key, 2) == 5


def test_an_attempt_says_what_was_signed(log, execute):
    """P3."""
    log.reserve_nonce(OPEN.key, 3)
    raw = sign(3, fee_wei=5 * 10**9, data=b"call")
    attempt = log.record_attempt(OPEN.key, raw)
    assert (attempt.raw, attempt.tx_hash, attempt.chain_id, attempt.nonce) == (raw, keccak(raw), f.CHAIN_ID, 3)
    assert (attempt.max_fee_per_gas_wei, attempt.max_priority_fee_per_gas_wei) == (5 * 10**9, 10**9)
    assert (attempt.to, attempt.value_wei, attempt.gas_limit, attempt.data) == (f.CONTRACT, 0, 90_000, b"call")
    assert execute("SELECT tx_hash, effect_key, nonce FROM attempts") == [("0x" + keccak(raw).hex(), OPEN.key, 3)]
    assert log.attempts_of(OPEN.key) == (attempt,)
    assert log.attempts_of(DELIVER.key) == ()


def test_signing_the_same_bytes_again_is_no_second_attempt_and_a_fee_bump_is_one(log):
    """P4."""
    log.reserve_nonce(OPEN.key, 0)
    attempts = [log.record_attempt(OPEN.key, raw) for raw in (sign(0), sign(0), sign(0, fee_wei=3 * 10**9))]
    assert log.unfinished() == [Outgoing(0, OPEN.key, NonceState.SENT, None, (attempts[0], attempts[2]))]


@pytest.mark.parametrize("what", ["a reserved nonce", "the same bytes"])
def test_signing_anothers_transaction_stops_the_journal(log, journal, what):
    """P7, and rule 4 of the transaction manager: like a double vote."""
    if what == "a reserved nonce":
        log.reserve_nonce(OPEN.key, 3)
    else:
        log.record_attempt(OPEN.key, sign(3))
    with pytest.raises(Fatal, match=f"nonce 3 belongs to {OPEN.key} and was signed for {DELIVER.key}"):
        log.record_attempt(DELIVER.key, sign(3))
    assert log.attempts_of(DELIVER.key) == ()
    assert "nonce 3 belongs to" in journal.stop_reason
    with pytest.raises(Fatal, match="is stopped"):
        log.reserve_nonce(LOCATE.key, 0)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (sign(0, chain_id=1), "for chain 1"),
        (b"", "not a transaction"),
        (b"\x02", "not a transaction"),
        (b"\x02\xc0", "not a transaction"),
        (b"\x02" + b"\xc1\xc0", "not a transaction"),
        (sign(0)[:-1], "not a transaction"),
        (b"\xf8" + sign(0), "not of type 2"),
    ],
)
def test_what_is_no_transaction_of_this_chain_is_fatal_and_not_written(log, raw, message):
    with pytest.raises(Fatal, match=message):
        log.record_attempt(OPEN.key, raw)
    assert log.attempts_of(OPEN.key) == ()


def test_nothing_is_signed_for_what_is_no_effect(log):
    """Intent before effect."""
    unknown = EffectKey("0x00/OpenTask")
    with pytest.raises(IllegalEvent, match="which is no effect"):
        log.reserve_nonce(unknown, 0)
    with pytest.raises(IllegalEvent, match="which is no effect"):
        log.record_attempt(unknown, sign(0))
    assert log.unfinished() == []


def test_mined_unmined_mined_elsewhere_and_final(log):
    """C1: a reorganisation takes the block away; the same bytes are mined again in another one."""
    log.reserve_nonce(OPEN.key, 0)
    first, bumped = sign(0), sign(0, fee_wei=3 * 10**9)
    for raw in (first, bumped):
        log.record_attempt(OPEN.key, raw)
    log.mark_mined(0, included(first, 7))
    assert (outgoing(log, 0).state, outgoing(log, 0).inclusion) == (NonceState.MINED, included(first, 7))
    log.mark_unmined(0)
    assert (outgoing(log, 0).state, outgoing(log, 0).inclusion) == (NonceState.SENT, None)
    log.mark_mined(0, included(bumped, 8))
    log.mark_mined(0, included(bumped, 9))
    assert outgoing(log, 0).inclusion == included(bumped, 9)
    log.mark_final(0, included(bumped, 9))
    assert log.unfinished() == []
    assert log.reserve_nonce(OPEN.key, 1) == 0, "what is done is not done again under another nonce"


def test_the_live_nonce_of_an_effect_is_the_one_that_can_come_true_or_has(log):
    assert log.live(OPEN.key) is None
    log.reserve_nonce(OPEN.key, 0)
    attempt = log.record_attempt(OPEN.key, sign(0))
    assert log.live(OPEN.key) == Outgoing(0, OPEN.key, NonceState.SENT, None, (attempt,))
    log.mark_replaced(0)
    assert log.live(OPEN.key) is None
    log.reserve_nonce(OPEN.key, 0)
    log.record_attempt(OPEN.key, sign(1))
    log.mark_final(1, included(sign(1)))
    assert log.live(OPEN.key).state is NonceState.FINAL


def test_the_next_nonce_is_the_one_that_nothing_was_reserved_or_signed_with(log):
    """P8."""
    assert log.next_nonce() == 0
    log.record_attempt(OPEN.key, sign(4))
    assert log.next_nonce() == 5
    log.reserve_nonce(DELIVER.key, 9)
    assert log.next_nonce() == 10


def test_an_effect_whose_nonce_was_used_up_by_something_else_gets_another(log):
    """Rule 5 of the transaction manager: the filler of a gap may win the race."""
    log.reserve_nonce(OPEN.key, 0)
    log.reserve_nonce(DELIVER.key, 0)
    log.mark_replaced(0)
    assert log.reserve_nonce(OPEN.key, 1) == 2
    assert [entry.nonce for entry in log.unfinished()] == [1, 2]


STATES = {
    NonceState.SENT: lambda _log: None,
    NonceState.MINED: lambda log: log.mark_mined(0, included(sign(0))),
    NonceState.FINAL: lambda log: log.mark_final(0, included(sign(0))),
    NonceState.REPLACED: lambda log: log.mark_replaced(0),
}
MOVES = STATES | {NonceState.SENT: lambda log: log.mark_unmined(0)}


@pytest.mark.parametrize(
    ("state", "move"),
    [
        (NonceState.SENT, NonceState.SENT),
        (NonceState.MINED, NonceState.REPLACED),
        *((state, move) for state in (NonceState.FINAL, NonceState.REPLACED) for move in NonceState),
    ],
)
def test_no_nonce_leaves_the_order_of_its_states(log, execute, state, move):
    log.reserve_nonce(OPEN.key, 0)
    log.record_attempt(OPEN.key, sign(0))
    STATES[state](log)
    before = execute("SELECT * FROM nonces")
    with pytest.raises(IllegalEvent, match=f"nonce 0 is {state} and cannot be {move}"):
        MOVES[move](log)
    assert execute("SELECT * FROM nonces") == before


def test_only_what_was_signed_for_a_nonce_can_be_mined_with_it(log):
    log.reserve_nonce(OPEN.key, 0)
    log.record_attempt(DELIVER.key, sign(1))
    for stranger in (digest("a foreign transaction"), keccak(sign(1))):
        with pytest.raises(IllegalEvent, match="was never signed for nonce 0"):
            log.mark_mined(0, Inclusion(stranger, BlockNumber(7), digest("block 7")))
    with pytest.raises(IllegalEvent, match="nonce 1 is free"):
        log.mark_mined(1, included(sign(1)))


def test_the_tables_themselves_refuse_a_second_owner_and_a_second_live_nonce(log, execute):
    """Habit 6: UNIQUE, whoever writes."""
    log.reserve_nonce(OPEN.key, 0)
    log.reserve_nonce(DELIVER.key, 0)
    for values in (f"0, '{LOCATE.key}', 'sent'", f"2, '{OPEN.key}', 'sent'", f"2, '{LOCATE.key}', 'lost'"):
        with pytest.raises(sa.exc.DBAPIError, match=r"(?i)unique|check"):
            execute(
                f"INSERT INTO nonces SELECT {values}, tx_hash, block_number, block_hash, sealed FROM nonces LIMIT 1"
            )


def test_big_numbers_fit(log, journal, place):
    """K6."""
    log.reserve_nonce(OPEN.key, 2**40)
    raw = sign(2**40, fee_wei=2**70)
    assert log.record_attempt(OPEN.key, raw).max_fee_per_gas_wei == 2**70
    log.mark_mined(2**40, included(raw, 2**41))
    journal.close()
    again = Journal(place, KEY, IDENTITY)
    assert outgoing(again.transactions, 2**40).inclusion == included(raw, 2**41)
    again.close()


def test_what_an_operator_accepts_as_used_is_never_given_out_even_while_stopped(place):
    """P7, P8: the way back after others have used the key, and it is kept."""
    journal = Journal(place, KEY, IDENTITY)
    journal.record(f.PLANNED, [OPEN, DELIVER])
    assert journal.transactions.accepted_below() == 0
    assert journal.transactions.reserve_nonce(OPEN.key, 0) == 0
    journal.stop("another program uses the key")
    for count in (5, 3):
        journal.transactions.accept_foreign(count)
    journal.clear_stop()
    journal.close()
    again = Journal(place, KEY, IDENTITY)
    assert again.transactions.accepted_below() == 5
    assert again.transactions.next_nonce() == 5
    assert again.transactions.reserve_nonce(DELIVER.key, 0) == 5
    assert again.transactions.reserve_nonce(OPEN.key, 0) == 0, "it may be mined, and its fate is still to be seen"
    again.close()
