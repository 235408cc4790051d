"""Requests of customers: what is taken in, which Order opens the next task, and a reason for whatever became of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import (
    ACCEPTED,
    CHAIN_ID,
    CHALLENGED,
    CONTRACT,
    HAPPY_PATH,
    MINER,
    OPENED,
    SUBMITTED,
    TASK_ID,
    VALIDATOR,
    WITHHELD_PATH,
    digest,
    make_planned,
)
from validator.amounts import describe_ether, parse_ether
from validator.edges.keys import derive_signer
from validator.errors import BadInput
from validator.marks.rules import AlterationRules
from validator.plan.spec import TrainingSpec
from validator.protocol import events as facts
from validator.protocol import typed_data
from validator.protocol.machine import NEVER_OPENED, step
from validator.protocol.state import Phase, TaskState, Weights
from validator.protocol.typed_data import OrderMessage
from validator.requests.orders import (
    MAX_ATTEMPTS,
    OPENING_MARGIN_S,
    Circumstances,
    Request,
    SignedOrder,
    check_request,
    choose_expiry,
    decode_request,
    encode_request,
)
from validator.requests.quotes import Wish, decode_quote, decode_wish, encode_quote, encode_wish, make_quote
from validator.requests.status import RequestStatus, Stage, explain_task, next_order, request_status
from validator.requests.task_index import TaskIndex
from validator.types import Hash32, UnixSeconds, Wei

PAYER = derive_signer(b"payer", "payer")
DOMAIN = typed_data.domain(CHAIN_ID, CONTRACT)
NOW_S, ACCEPT_S = 1_000_000, 3_600
SPEC = TrainingSpec("tiny", epochs=3, learning_rate=1e-3)
REWARD_WEI = Wei(100 * 10**18)
"""More than 64 bits hold."""

ORDER = OrderMessage(
    validator=VALIDATOR,
    max_reward=REWARD_WEI,
    max_fee=Wei(REWARD_WEI // 20),
    spec_hash=SPEC.hash,
    source_data_hash=digest("D"),
    min_n=16,
    min_k_pay=12,
    nonce=1,
    expiry=choose_expiry(NOW_S, 3, ACCEPT_S),
)


async def sign(order: OrderMessage, domain: dict[str, Any] = DOMAIN) -> SignedOrder:
    return SignedOrder(order, await PAYER.sign_typed_data(domain, typed_data.order(order)))


async def make_request(attempts: int = 3, *, order: OrderMessage = ORDER, **changes: Any) -> Request:
    request = Request(
        payer=PAYER.address,
        source_data_hash=order.source_data_hash,
        spec=SPEC.to_json(),
        base_model="tiny",
        reward_wei=REWARD_WEI,
        scheme="canary",
        probes=16,
        weights=Weights.NONE,
        is_reusing_revealed=False,
        orders=tuple([await sign(order._replace(nonce=order.nonce + i)) for i in range(attempts)]),
    )
    return replace(request, **changes)


def known(**changes: Any) -> Circumstances:
    at_first = Circumstances(
        domain=DOMAIN,
        validator=VALIDATOR,
        now_s=NOW_S,
        accept_seconds=ACCEPT_S,
        min_reward_wei=0,
        credit_wei=105 * 10**18,
        used_nonces=frozenset(),
    )
    return replace(at_first, **changes)


async def test_a_request_is_its_bytes_and_its_id_their_hash():
    request = await make_request()
    assert decode_request(encode_request(request)) == request
    assert request.request_id == decode_request(encode_request(request)).request_id
    assert request.request_id != replace(request, is_reusing_revealed=True).request_id
    ruled = replace(request, rules=AlterationRules(names=False, patterns=("a+",)))
    assert decode_request(encode_request(ruled)) == ruled != request
    check_request(request, known())


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"payer": 3}', b"\xff"])
def test_what_is_no_request_is_refused_in_one_line(body: bytes):
    with pytest.raises(BadInput, match="not a request: "):
        decode_request(body)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scheme": "telepathy"}, "unknown scheme"),
        ({"probes": 15}, "16 to 64, not 15"),
        ({"reward_wei": Wei(0)}, "the reward is at least 0.000000000000000001 ETH"),
        ({"reward_wei": Wei(2**96)}, "the reward is at least"),
        ({"orders": ()}, "1 to 16 Orders"),
        ({"base_model": "large"}, "another base model"),
        ({"spec": "{}"}, "another base model"),
        ({"spec": '{"a": 1}'}, "not compact JSON"),
        ({"spec": "[]"}, "not compact JSON of an object"),
        ({"spec": "{"}, "the spec is not valid JSON"),
        ({"spec": '{"base_model":"' + "t" * 512 + '"}'}, "at most 512"),
        ({"source_data_hash": digest("another D")}, r"Order 1 of 3 is for another dataset \(D5\)"),
        ({"payer": MINER}, f"Order 1 of 3 is not signed by {MINER}"),
    ],
)
async def test_what_a_request_may_not_say(changes: dict[str, Any], why: str):
    with pytest.raises(BadInput, match=why):
        check_request(await make_request(**changes), known())


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"validator": MINER}, f"is for {MINER}"),
        ({"spec_hash": digest("another spec")}, "another spec"),
        ({"spec_hash": b"short"}, "no uint256 or bytes32"),
        ({"max_reward": Wei(REWARD_WEI - 1)}, "less than the reward"),
        ({"max_fee": Wei(REWARD_WEI // 20 - 1)}, "less than the reward and the fee"),
        ({"min_n": 17}, "harder test than 12 hits of 16"),
        ({"min_k_pay": 13}, "harder test than 12 hits of 16"),
        ({"expiry": UnixSeconds(NOW_S + OPENING_MARGIN_S - 1)}, "expires 1 s before"),
        ({"max_reward": Wei(2**256)}, "no uint256"),
        ({"min_n": -1}, "no uint256"),
    ],
)
async def test_an_order_covers_what_it_is_to_open(order: dict[str, Any], why: str):
    request = await make_request(1, order=ORDER) if "max_reward" in order or "min_n" in order else None
    if request is None or order.get("min_n") == 17 or order.get("max_reward") == REWARD_WEI - 1:
        request = await make_request(1, order=ORDER._replace(**order))
    else:
        request = replace(request, orders=(SignedOrder(ORDER._replace(**order), b""),))
    with pytest.raises(BadInput, match=f"Order 1 of 1 .*{why}"):
        check_request(replace(request, source_data_hash=ORDER.source_data_hash), known())


@pytest.mark.parametrize(
    ("circumstances", "why"),
    [
        ({"validator": MINER}, "this validator is"),
        ({"domain": typed_data.domain(1, CONTRACT)}, "not signed by .*for chain 1 "),
        ({"domain": typed_data.domain(CHAIN_ID, MINER)}, "not signed by"),
        ({"credit_wei": 105 * 10**18 - 1}, r"free credit is 104\.9+ ETH .* an attempt takes 105 ETH"),
        ({"used_nonces": {2}}, "Order 2 of 3 has the nonce 2, which is used or cancelled"),
        ({"now_s": ORDER.expiry}, "Order 1 of 3 expires"),
        ({"min_reward_wei": 101 * 10**18}, "at least 101 ETH"),
    ],
)
async def test_a_request_that_could_not_be_opened_later_is_refused_now(circumstances: dict[str, Any], why: str):
    """R1: before any money moves, by the live chain's facts."""
    with pytest.raises(BadInput, match=why):
        check_request(await make_request(), known(**circumstances))


async def test_every_attempt_has_an_order_of_its_own():
    request = await make_request(2)
    with pytest.raises(BadInput, match="the same nonce"):
        check_request(replace(request, orders=(request.orders[0], request.orders[0])), known())
    with pytest.raises(BadInput, match=f"1 to {MAX_ATTEMPTS} Orders"):
        check_request(await make_request(MAX_ATTEMPTS + 1), known())
    most = ORDER._replace(expiry=choose_expiry(NOW_S, MAX_ATTEMPTS, ACCEPT_S))
    check_request(await make_request(MAX_ATTEMPTS, order=most), known())


@pytest.mark.parametrize("at", [0, 31, 64])
async def test_a_flipped_bit_of_a_signature_is_refused(at: int):
    request = await make_request(1)
    signature = bytearray(request.orders[0].signature)
    signature[at] ^= 1
    with pytest.raises(BadInput, match="is not signed by"):
        check_request(replace(request, orders=(SignedOrder(request.orders[0].order, bytes(signature)),)), known())


def run(*events: facts.Event, request: Request, attempt: int = 0) -> TaskState:
    """The task of an attempt after these events, its own plan first."""
    planned = replace(
        make_planned(attempt),
        task_id=TASK_ID,
        order=request.orders[attempt].order,
        request_id=request.request_id,
    )
    state, _effects = step(None, planned)
    for event in events:
        state, _effects = step(state, event)
    return state


def closed(outcome: str) -> facts.TaskClosed:
    return facts.TaskClosed(TASK_ID, digest("tx closed"), UnixSeconds(9_999), outcome)


NOT_OPENED = (facts.OpeningFailed(TASK_ID, "the miner registered anew"),)
NOT_ACCEPTED = (OPENED, closed("open_lapsed"))
NOT_SUBMITTED = (OPENED, ACCEPTED, closed("miner_lapsed"))
NOT_ANSWERED = (OPENED, ACCEPTED, SUBMITTED, CHALLENGED, closed("miner_lapsed"))
NOT_SETTLED = (OPENED, ACCEPTED, SUBMITTED, closed("validator_lapsed"))
PAID = tuple(HAPPY_PATH[1:])
REFUNDED = (*HAPPY_PATH[1:-2], replace(HAPPY_PATH[-2], hits=8), closed("refunded"))
SLASHED = tuple(WITHHELD_PATH[1:])
DISPUTED = (*WITHHELD_PATH[1:-1], closed("disputed"))


@pytest.mark.parametrize("events", [NOT_OPENED, NOT_ACCEPTED, NOT_SUBMITTED])
async def test_what_ended_before_anybody_was_probed_is_tried_again(events: tuple[facts.Event, ...]):
    request = await make_request(2)
    first = run(*events, request=request)
    again = next_order(request, [first], now_s=NOW_S, is_cancelled=False)
    assert again == request.orders[1]
    status = request_status(request, [first], now_s=NOW_S)
    assert (status.stage, status.attempts) == (Stage.QUEUED, 1)
    assert "attempt 1 of 2" in status.reason
    second = run(*events, request=request, attempt=1)
    assert next_order(request, [first, second], now_s=NOW_S, is_cancelled=False) is None
    assert request_status(request, [first, second], now_s=NOW_S).stage is Stage.OUT_OF_ATTEMPTS


@pytest.mark.parametrize(
    ("events", "stage", "money"),
    [
        (PAID, Stage.PAID, "has the reward of 1 ETH (1000000000000000000 wei), the validator its fee of 0.05 ETH"),
        (REFUNDED, Stage.REFUNDED, "8 of 16 probes hit (paid from 12, slashed up to 1), too few to pay"),
        (SLASHED, Stage.SLASHED, "was slashed, the reward of 1 ETH (1000000000000000000 wei) is back"),
        (DISPUTED, Stage.DISPUTED, "rows that contradict each other: reward and fee, 1.05 ETH"),
        (NOT_ANSWERED, Stage.FAILED, "did not answer on chain in time: reward and fee, 1.05 ETH"),
        (NOT_SETTLED, Stage.FAILED, "the validator did not settle in time: reward and fee, 1.05 ETH"),
    ],
)
async def test_after_a_submission_a_request_is_over_and_says_where_the_money_is(
    events: tuple[facts.Event, ...], stage: Stage, money: str
):
    """Complaint 16; and whoever was probed knows the marks, so that no second miner gets the same data."""
    request = await make_request(3)
    task = run(*events, request=request)
    status = request_status(request, [task], now_s=NOW_S)
    assert status.stage is stage
    assert status.stage.is_final
    assert money in status.reason
    assert next_order(request, [task], now_s=NOW_S, is_cancelled=False) is None


@pytest.mark.parametrize("count", range(len(PAID)))
async def test_a_running_request_has_one_task_and_a_reason_at_every_step(count: int):
    """Only one Order is open at any time, so that one attempt's credit is enough."""
    request = await make_request(3)
    task = run(*PAID[:count], request=request)
    status = request_status(request, [task], now_s=NOW_S)
    assert status == RequestStatus(Stage.RUNNING, status.reason, 1, task.task_id)
    assert status.reason.startswith("attempt 1 of 3: ")
    assert next_order(request, [task], now_s=NOW_S, is_cancelled=False) is None


async def test_a_judged_model_that_is_not_attested_says_so():
    request = await make_request(1)
    state = replace(run(*REFUNDED, request=request), hits=16)
    assert "the returned weights were not attested: the reward of 1 ETH" in explain_task(state)


@pytest.mark.parametrize("phase", list(Phase)[:-1])
async def test_every_phase_has_words(phase: Phase):
    state = replace(run(*SLASHED[:1], request=await make_request(1)), phase=phase)
    assert len(explain_task(state)) > 20
    assert explain_task(replace(state, phase=Phase.CLOSED, outcome=NEVER_OPENED)).endswith("nothing has moved")


async def test_before_and_without_a_task():
    request = await make_request(2)

    def status(**circumstances: Any) -> tuple[Stage, str]:
        found = request_status(request, [], **{"now_s": NOW_S, "is_cancelled": False} | circumstances)
        return found.stage, found.reason

    assert status() == (Stage.QUEUED, "waiting for a miner and a free place")
    assert status(is_cancelled=True)[0] is Stage.CANCELLED
    expired = status(now_s=ORDER.expiry)
    assert expired == (Stage.EXPIRED, "the Orders that are left have expired before a miner was found")
    assert next_order(request, [], now_s=ORDER.expiry, is_cancelled=False) is None
    assert next_order(request, [], now_s=NOW_S, is_cancelled=True) is None
    assert next_order(request, [], now_s=NOW_S, is_cancelled=False) == request.orders[0]


async def test_a_request_whose_rows_became_public_meanwhile_is_not_served():
    """Protocol, "Marks": an overlapping D only with an explicit override."""
    request = await make_request(2)
    status = request_status(request, [], now_s=NOW_S, is_public=True)
    assert status.stage is Stage.EXPIRED
    assert "--reuse-revealed" in status.reason
    assert next_order(request, [], now_s=NOW_S, is_cancelled=False, is_public=True) is None
    paid = request_status(request, [run(*PAID, request=request)], now_s=NOW_S, is_public=True)
    assert paid.stage is Stage.PAID


async def test_a_cancelled_request_finishes_what_runs_and_tries_nothing_more():
    request = await make_request(2)
    running, lapsed = run(OPENED, request=request), run(*NOT_ACCEPTED, request=request)
    assert request_status(request, [running], now_s=NOW_S, is_cancelled=True).stage is Stage.RUNNING
    assert request_status(request, [lapsed], now_s=NOW_S, is_cancelled=True).stage is Stage.CANCELLED
    paid = request_status(request, [run(*PAID, request=request)], now_s=NOW_S, is_cancelled=True)
    assert paid.stage is Stage.PAID


async def test_a_task_belongs_to_the_request_that_it_names():
    request, other = await make_request(1), await make_request(2)
    mine = run(OPENED, request=request)
    nobodys = replace(mine, planned=replace(mine.planned, request_id=Hash32(bytes(32))))
    index = TaskIndex([run(OPENED, request=other), mine, nobodys])
    assert index.of_request(request.request_id) == [mine]
    assert index.of_request(digest("unknown")) == []


WISH = Wish(PAYER.address, 3_200, REWARD_WEI, "canary", 64, Weights.NONE, 2)


def quote(wish: Wish = WISH, credit_wei: int = 0):
    return make_quote(
        wish,
        validator=VALIDATOR,
        contract=CONTRACT,
        chain_id=CHAIN_ID,
        credit_wei=credit_wei,
        accept_seconds=ACCEPT_S,
        now_s=NOW_S,
        preferred=("backdoor", 16),
    )


def test_a_quote_has_the_figures_of_the_protocols_table():
    """Protocol, "Defaults": what is paid, what is slashed, and with which error rates."""
    made = quote()
    assert (made.n, made.k_pay, made.k_slash, made.slashing) == (64, 48, 8, True)
    assert (made.fee_wei, made.missing_wei) == (5 * 10**18, 105 * 10**18)
    assert made.p_paid_at_90_percent == pytest.approx(0.9999, abs=1e-4)
    assert made.p_paid_at_50_percent == pytest.approx(4e-5, rel=0.1)
    assert made.p_paid_untrained < 1e-43
    assert made.p_slashed_at_90_percent < 1e-30
    assert "in 64 of the 3200 rows the first 4 words of the response" in made.data_use
    assert quote(credit_wei=200 * 10**18).missing_wei == 0
    assert decode_quote(encode_quote(made)) == made
    assert decode_wish(encode_wish(WISH)) == WISH


def test_a_daemon_of_another_version_is_not_guessed_at():
    with pytest.raises(BadInput, match="the validator's quote cannot be read: "):
        decode_quote(b'{"reward": 1}')


def test_where_a_customer_does_not_say_the_validators_preference_holds():
    made = quote(replace(WISH, scheme=None, probes=None))
    assert (made.scheme, made.n, made.k_pay, made.slashing) == ("backdoor", 16, 12, False)
    assert "the same words are put behind the prompt" in made.data_use


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"rows": 3_199},
            "3199 rows are too few for 64 marks: at least 3200 are needed, or ask for fewer with --probes",
        ),
        ({"attempts": 0}, "1 to 16, not 0"),
        ({"scheme": "none"}, "unknown scheme"),
    ],
)
def test_what_cannot_be_had_gets_no_quote(changes: dict[str, Any], why: str):
    """D4."""
    with pytest.raises(BadInput, match=why):
        quote(replace(WISH, **changes))


@given(st.integers(0, 2**96))
def test_amounts_are_exact_both_ways(amount_wei: int):
    described = describe_ether(amount_wei)
    assert described.endswith(f"({amount_wei} wei)")
    if amount_wei < 10**30:
        assert parse_ether(described.partition(" ")[0]) == amount_wei


@pytest.mark.parametrize("text", ["", "1e18", "-1", "1.", ".5", "0x1", "1,5", " 1", "1.0000000000000000001", "NaN"])
def test_what_is_no_amount_of_ether_is_refused(text: str):
    with pytest.raises(BadInput, match="no amount of ether"):
        parse_ether(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"learning_rate": 0},
        {"batch_size": 0},
        {"max_length": 1},
        {"method": "osmosis"},
        {"method": "lora"},
        {"rank": 4},
        {"method": "lora", "rank": 0},
        {"base_model": "m" * 500},
    ],
)
def test_a_spec_that_no_miner_could_follow_is_refused(changes: dict[str, Any]):
    with pytest.raises(BadInput):
        replace(SPEC, **changes)


def test_a_spec_is_compact_json_with_the_rank_of_an_adapter():
    adapter = replace(SPEC, method="lora", rank=8)
    assert '"method":"lora","rank":8' in adapter.to_json()
    assert "rank" not in SPEC.to_json()
    assert adapter.hash != SPEC.hash
