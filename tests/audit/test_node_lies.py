"""A node that lies about the shipped contract's chain: whatever it changes, withholds or invents, it is named."""

import random
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest

from contracts import TaskState
from tests.audit.auditing import find
from tests.audit.chains import Lie, PublicNode, change, only
from tests.audit.rounds import make_market
from tests.contracts.market import Market
from tests.contracts.rounds import COMMITTEE, OUTSIDER
from validator.audit.findings import Party, Severity
from validator.audit.history import Dated
from validator.edges.contract import (
    Answered,
    Challenged,
    ContractEvent,
    Deposited,
    Disputed,
    EvidenceKeyRotated,
    Judged,
    ModelSubmitted,
    OrderConsumed,
    Registered,
    Staked,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskSettled,
    TaskStatus,
    Unstaked,
    UnstakeRequested,
    Withdrawn,
)
from validator.errors import NodeFault
from validator.protocol.commitment import Terms
from validator.types import Hash32

ANOTHER = Hash32(b"\x01" * 32)


@cache
def market() -> Market:
    """One task of each kind that has events of its own, in a fixed order, and what accounts do besides."""
    made = make_market()
    someone = OUTSIDER.address
    made.call(someone, "deposit", value_wei=1_000)
    made.call(someone, "register", someone, "https://someone.example", bytes(32))
    made.call(someone, "rotate_evidence_key", someone)
    made.call(someone, "stake", 600)
    made.call(someone, "request_unstake", 500)
    made.chain.now += 5_000
    made.call(someone, "unstake")
    made.call(someone, "withdraw", 100)
    made.call(someone, "cancel_order", 7)
    made.settle(made.reach(TaskState.SUBMITTED), hits=16)
    made.settle(made.reach(TaskState.ANSWERED), hits=16)
    judged = made.reach(TaskState.JUDGING)
    made.judge(judged, [made.verdict(judged, member) for member in COMMITTEE[:2]])
    slashed = made.reach(TaskState.SLASH_PENDING)
    made.expire(slashed)
    made.poke(slashed)
    made.dispute(made.reach(TaskState.SLASH_PENDING))
    lapsed = made.reach(TaskState.ACCEPTED)
    made.expire(lapsed)
    made.poke(lapsed)
    made.settle(made.reach(TaskState.SUBMITTED), hits=8)
    return made


def altered(value: Any) -> Any:
    """The nearest thing that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, TaskStatus):
        return TaskStatus.REFUNDED if value is TaskStatus.PAID else TaskStatus.PAID
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return COMMITTEE[2].address
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    if isinstance(value, tuple):
        return (altered(value[0]), *value[1:])
    return replace(value, **{fields(value)[0].name: altered(getattr(value, fields(value)[0].name))})


def of_field(kind: type[ContractEvent], name: str, which: int = 0) -> Lie:
    return change(kind, lambda event: replace(event, **{name: altered(getattr(event, name))}), which)


def of_term(name: str) -> Lie:
    return change(
        TaskOpened,
        lambda event: replace(event, terms=replace(event.terms, **{name: altered(getattr(event.terms, name))})),
    )


def withheld(kind: type[ContractEvent], which: int = 0) -> Lie:
    return change(kind, lambda _event: None, which)


def told_twice(kind: type[ContractEvent]) -> Lie:
    def lie(events: list[Dated]) -> list[Dated]:
        last = events[-1].event.log
        (again,) = [each for each in events if isinstance(each.event, kind)][:1]
        log = replace(again.event.log, block_number=last.block_number, log_index=99, block_hash=last.block_hash)
        return [*events, Dated(replace(again.event, log=log), events[-1].at_s)]

    return lie


def exchanged(kind: type[ContractEvent], first: int = 0, second: int = 1) -> Lie:
    """What happened to one task is told of another, and the other way round."""

    def lie(events: list[Dated]) -> list[Dated]:
        places = [place for place, each in enumerate(events) if isinstance(each.event, kind)]
        a, b = events[places[first]].event, events[places[second]].event
        told = list(events)
        told[places[first]] = replace(events[places[first]], event=replace(b, log=a.log))
        told[places[second]] = replace(events[places[second]], event=replace(a, log=b.log))
        return told

    return lie


def reordered(events: list[Dated]) -> list[Dated]:
    """The first task is told to be submitted before it is accepted."""
    first, second = (
        next(place for place, each in enumerate(events) if isinstance(each.event, kind))
        for kind in (TaskAccepted, ModelSubmitted)
    )
    told = list(events)
    for here, there in ((first, second), (second, first)):
        ours, theirs = events[here].event.log, events[there].event.log
        log = replace(theirs, block_number=ours.block_number, block_hash=ours.block_hash, tx_hash=ours.tx_hash)
        told[here] = Dated(replace(events[there].event, log=log), events[here].at_s)
    return told


def late(kind: type[ContractEvent]) -> Lie:
    """A block's time is told ten years late, and that of all blocks behind it."""

    def lie(events: list[Dated]) -> list[Dated]:
        first = next(i for i, each in enumerate(events) if isinstance(each.event, kind))
        return [replace(each, at_s=each.at_s + 315_360_000 * (i >= first)) for i, each in enumerate(events)]

    return lie


def whole_task_withheld(events: list[Dated]) -> list[Dated]:
    hidden = only(events, TaskOpened)[1].task_id
    return [each for each in events if getattr(each.event, "task_id", None) != hidden]


UNBOUND = {("TaskSettled", "bundle_hash"), ("OrderConsumed", "source_data_hash")}
"""Bound by nothing but the log itself: that is for two nodes to agree on, and for the bundle."""
OF_EVENTS = {
    f"{kind.__name__}.{field.name}": of_field(kind, field.name)
    for kind in (TaskAccepted, ModelSubmitted, TaskSettled, Challenged, Answered, Judged, Disputed, TaskClosed)
    for field in fields(kind)
    if field.name not in ("log", "task_id") and (kind.__name__, field.name) not in UNBOUND
}
OF_ACCOUNTS = {
    "Registered.epoch": of_field(Registered, "epoch"),
    "Registered.evidence_key": of_field(Registered, "evidence_key"),
    "EvidenceKeyRotated.miner": of_field(EvidenceKeyRotated, "miner"),
    "Deposited.amount": of_field(Deposited, "amount"),
    "Deposited.account": of_field(Deposited, "account"),
    "Withdrawn.amount": of_field(Withdrawn, "amount"),
    "Staked.amount": of_field(Staked, "amount"),
    "UnstakeRequested.amount": of_field(UnstakeRequested, "amount"),
    "UnstakeRequested.ready_at": of_field(UnstakeRequested, "ready_at"),
    "Unstaked.amount": of_field(Unstaked, "amount"),
    "OrderConsumed.payer": of_field(OrderConsumed, "payer"),
    "OrderConsumed.nonce, used before": change(OrderConsumed, lambda event: replace(event, nonce=1)),
    "TaskOpened.validator_nonce": of_field(TaskOpened, "validator_nonce"),
    "TaskOpened.validator": of_field(TaskOpened, "validator"),
    "TaskOpened.miner": of_field(TaskOpened, "miner"),
}
OTHERS = {
    **{
        f"{kind.__name__} withheld": withheld(kind)
        for kind in (
            *(Deposited, Withdrawn, Staked, Registered, UnstakeRequested, TaskOpened, TaskAccepted, ModelSubmitted),
            *(TaskSettled, Challenged, Answered, Judged, Disputed, TaskClosed),
        )
    },
    **{
        f"{kind.__name__} told twice": told_twice(kind)
        for kind in (TaskOpened, TaskAccepted, ModelSubmitted, TaskSettled, TaskClosed, Deposited, OrderConsumed)
    },
    **{
        f"{kind.__name__} exchanged": exchanged(kind)
        for kind in (TaskAccepted, ModelSubmitted, TaskSettled, TaskClosed)
    },
    "a whole task withheld": whole_task_withheld,
    "submitted before accepted": reordered,
    "accepted too late": late(TaskAccepted),
    "submitted too late": late(ModelSubmitted),
    "settled too late": late(TaskSettled),
    "answered too late": late(Answered),
    "ended too early": lambda events: [replace(each, at_s=events[0].at_s) for each in events],
    "a row's reply altered too": change(
        TaskSettled, lambda event: replace(event, rows=altered(event.rows), replies=altered(event.replies))
    ),
    "one hit fewer, and the count": change(
        TaskSettled, lambda event: replace(event, replies=(ANOTHER, *event.replies[1:]), hits=event.hits - 1)
    ),
    "rows out of order": change(TaskSettled, lambda event: replace(event, rows=event.rows[::-1])),
    "a row left out": change(TaskSettled, lambda event: replace(event, rows=event.rows[1:], replies=event.replies[1:])),
    "paid as refunded": change(TaskClosed, lambda event: replace(event, outcome=TaskStatus.REFUNDED)),
    "under-paid, the rest burned": change(
        TaskClosed, lambda event: replace(event, to_miner=event.to_miner - 1, burned=event.burned + 1)
    ),
}
LIES = {**{f"terms.{field.name}": of_term(field.name) for field in fields(Terms)}, **OF_EVENTS, **OF_ACCOUNTS, **OTHERS}


async def test_an_honest_node_is_not_blamed():
    """Nor anybody else, but for the validator that the dispute has shown to be wrong."""
    found = await find(PublicNode(market().chain, market().address))
    assert [(finding.check, finding.party, finding.severity) for finding in found] == [
        ("dispute", Party.VALIDATOR, Severity.WARNING)
    ]


async def test_events_of_a_task_that_nobody_opened_are_in_the_report():
    found = await find(PublicNode(market().chain, market().address, withheld(TaskOpened)))
    hidden = "0x" + only(market().chain.events, TaskOpened)[0].task_id.hex()
    assert "order" in {finding.check for finding in found if finding.task_id == hidden}


@pytest.mark.parametrize("name", LIES)
async def test_a_lying_node_is_named(name: str):
    found = await find(PublicNode(market().chain, market().address, LIES[name]))
    mismatches = [finding for finding in found if finding.severity is Severity.MISMATCH]
    assert mismatches
    assert {finding.party for finding in mismatches} == {Party.NODE}
    assert all(finding.account is None for finding in mismatches)


EXTREMES = {
    int: (0, 1, 64, 65, 2**31, 2**63, 2**64, 2**96, 2**256 - 1),
    bytes: (bytes(32), b"\xff" * 32),
    str: ("0x" + "00" * 20, COMMITTEE[2].address),
    TaskStatus: tuple(TaskStatus),
}


def extreme(value: Any, dice: random.Random) -> Any:
    """Something of the same type that nobody expects there."""
    if type(value) in EXTREMES and (not isinstance(value, bytes) or len(value) == 32):
        return dice.choice(EXTREMES[type(value)])
    if isinstance(value, bytes):
        return dice.choice([b"", bytes(65), value + b"x"])
    if isinstance(value, tuple):
        return dice.choice([(), value[:1], value[::-1], value * 3])
    if isinstance(value, bool):
        return not value
    name = dice.choice([field.name for field in fields(value)])
    return replace(value, **{name: extreme(getattr(value, name), dice)})


@pytest.mark.parametrize("seed", range(24))
async def test_no_nonsense_of_a_node_breaks_the_audit(seed: int):
    """It ends in findings, or says that this node cannot be audited with; under the shipped code and under another."""
    dice = random.Random(seed)

    def lie(events: list[Dated]) -> list[Dated]:
        told = list(events)
        for _ in range(3):
            place = dice.randrange(len(told))
            event = told[place].event
            name = dice.choice([field.name for field in fields(event) if field.name != "log"])
            told[place] = Dated(
                replace(event, **{name: extreme(getattr(event, name), dice)}),
                dice.choice([*[told[place].at_s] * 12, 0, 2**39, 2**70]),
            )
        return told

    code = None if seed % 2 else b"\x60\x00"
    with suppress(NodeFault):
        assert await find(PublicNode(market().chain, market().address, lie, code=code))
