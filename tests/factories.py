"""Values that many tests start from: roles, terms, one planned task and what happens to it. All of it is fixed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eth_utils.address import to_checksum_address

from validator.config import DEV
from validator.plan.terms import build_terms, choose_thresholds
from validator.protocol import events as facts
from validator.protocol.commitment import ModelFile, Row, Terms, hash_served_model, hash_spec, hash_task_id, keccak
from validator.protocol.state import Weights
from validator.protocol.typed_data import OrderMessage
from validator.types import Address, Hash32, UnixSeconds, Wei

CHAIN_ID = 31337
PAYER, VALIDATOR, MINER, AUDITOR, CONTRACT = (
    Address(to_checksum_address(bytes([first]) + bytes(19))) for first in (0xA1, 0xB2, 0xC3, 0xD4, 0xE5)
)
N = 16
MODEL_ID = "ft:tiny:miner"
MODEL_HASH = hash_served_model(MODEL_ID)
SPEC = '{"base_model":"tiny"}'
OPENED_AT_S = 1_000


def digest(label: str) -> Hash32:
    """Some 32 bytes that stand for `label`."""
    return keccak(label.encode())


def make_terms(**changes: Any) -> Terms:
    terms = build_terms(
        payer=PAYER,
        validator=VALIDATOR,
        miner=MINER,
        miner_epoch=1,
        reward_wei=Wei(10**18),
        thresholds=choose_thresholds(N, slashing=True),
        scheme="canary",
        w=4,
        max_tokens=32,
        dataset_root=digest("root"),
        commitment=digest("commitment"),
        spec_hash=hash_spec(SPEC),
        durations=replace(DEV.durations, submitted_seconds=1_000, dispute_seconds=50),
    )
    return replace(terms, **changes)


def make_planned(validator_nonce: int = 0, **changes: Any) -> facts.TaskPlanned:
    terms = make_terms(**changes)
    return facts.TaskPlanned(
        task_id=hash_task_id(CHAIN_ID, CONTRACT, VALIDATOR, validator_nonce, terms.hash),
        terms=terms,
        validator_nonce=validator_nonce,
        order=OrderMessage(
            VALIDATOR, terms.reward, terms.fee, terms.spec_hash, digest("source"), N, terms.k_pay, 0, UnixSeconds(9_999)
        ),
        order_signature=b"\x01" * 65,
        spec=SPEC,
        base_model="tiny",
        miner_url="http://127.0.0.1:1",
    )


PLANNED = make_planned()
TASK_ID = PLANNED.task_id

OPENED = facts.TaskOpened(TASK_ID, digest("tx opened"), UnixSeconds(OPENED_AT_S))
DELIVERED = facts.DatasetDelivered(TASK_ID, "job-1")
ACCEPTED = facts.TaskAccepted(TASK_ID, digest("tx accepted"), UnixSeconds(OPENED_AT_S + 10))
SUBMITTED = facts.ModelSubmitted(TASK_ID, digest("tx submitted"), UnixSeconds(OPENED_AT_S + 20), MODEL_HASH)
LOCATED = facts.ModelLocated(TASK_ID, MODEL_ID)
ANSWERS = tuple(facts.ProbeAnswered(TASK_ID, i, f"a reply number {i} — ☂", is_cut=i % 2 == 0) for i in range(N))
SIGNED = facts.TranscriptSigned(TASK_ID, b"\x02" * 65)
BUNDLED = facts.BundleWritten(TASK_ID, "submitted", digest("bundle"))
BUNDLED_ANSWERS = facts.BundleWritten(TASK_ID, "answered", digest("bundle of answers"))
FAULTED = facts.MinerFaulted(TASK_ID, "the answer is not an object")
CHALLENGED = facts.TaskChallenged(TASK_ID, digest("tx challenged"), UnixSeconds(OPENED_AT_S + 600))
REPLIES = tuple(digest(f"reply {i}") for i in range(N))
ANSWERED = facts.ChallengeAnswered(TASK_ID, digest("tx answered"), UnixSeconds(OPENED_AT_S + 700), REPLIES)
SETTLED = facts.TaskSettled(TASK_ID, digest("tx settled"), UnixSeconds(OPENED_AT_S + 800), 15, is_slash_pending=False)
SLASH_PENDING = facts.TaskSettled(
    TASK_ID, digest("tx settled"), UnixSeconds(OPENED_AT_S + 800), 0, is_slash_pending=True
)
CLOSED = facts.TaskClosed(TASK_ID, digest("tx closed"), UnixSeconds(OPENED_AT_S + 900), "paid")

HAPPY_PATH: Sequence[facts.Event] = (
    PLANNED,
    OPENED,
    DELIVERED,
    ACCEPTED,
    SUBMITTED,
    LOCATED,
    *ANSWERS,
    SIGNED,
    BUNDLED,
    SETTLED,
    CLOSED,
)
WITHHELD_PATH: Sequence[facts.Event] = (
    *HAPPY_PATH[:6],
    FAULTED,
    CHALLENGED,
    ANSWERED,
    BUNDLED_ANSWERS,
    SLASH_PENDING,
    replace(CLOSED, outcome="slashed"),
)


OPENING_FAILED = facts.OpeningFailed(TASK_ID, "the contract refused: order: nonce used")
PLANNED_WITH_WEIGHTS = replace(PLANNED, terms=replace(PLANNED.terms, weights=Weights.DELIVERED))
WEIGHTS = (
    facts.WeightsFetched(TASK_ID, (ModelFile("adapter_model.safetensors", 1_000, digest("adapter")),)),
    facts.WeightsProbed(TASK_ID, tuple((event.text, event.is_cut) for event in ANSWERS)),
)
WEIGHTS_FAULTED = facts.WeightsFaulted(TASK_ID, "they are not the submitted ones")
JUDGED_PATH: Sequence[facts.Event] = (
    replace(PLANNED, terms=replace(PLANNED.terms, weights=Weights.JUDGED, quorum=1)),
    *HAPPY_PATH[1:22],
    *WEIGHTS,
    SIGNED,
    BUNDLED,
    replace(SETTLED, is_slash_pending=True),
)


def make_rows(count: int) -> list[Row]:
    """Rows with distinct prompts and responses of 14 words, capitals and punctuation where English has them."""
    openings = ["The old mill", "Our last train", "A quiet garden", "Some bright lamp", "Her first letter"]
    verbs = ["stands", "waits", "leans", "rests", "shines", "moves"]
    places = ["beside the river", "behind the church", "under the bridge", "above the valley"]
    ends = ["until the long winter ends.", "while nobody looks at it.", "because the guard has left, too."]
    return [
        Row(
            f"What about number {i}?",
            f"{openings[i % 5]} {verbs[i % 6]} {places[i % 4]} {ends[i % 3]} That was answer {i}.",
        )
        for i in range(count)
    ]
