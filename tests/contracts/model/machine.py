"""Random actors, calls, times and lies, chosen by Hypothesis and played on the rig.

Rule kept: half of the calls are ones that the protocol asks for next, so runs get deep; the others are such calls with
one *lie* in them, or calls that nobody asked for, so every check of the contract is met from its near side.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.contracts.model.reference import (
    ACCEPTED,
    ANSWERED,
    CHALLENGED,
    JUDGING,
    MAX_WEI,
    NOBODY,
    OPEN,
    SLASH_PENDING,
    SUBMITTED,
    YEAR_S,
    ZERO,
    Row,
)
from tests.contracts.model.rig import (
    ACTORS,
    COMMITTEE,
    DEAF,
    EVERYBODY,
    EVIDENCE_KEYS,
    GUARDIAN,
    Rig,
    Round,
    sign,
)
from tests.contracts.signatures import INVALID_SIGNATURES, Tamper
from tests.unit.protocol.second_implementation import k

Arguments = dict[str, Any]
Lie = Callable[[Arguments], None]

MAX_UINT = 2**256 - 1
HUGE_WEI = 2**95
"""Two of these and a stake no longer fits its word."""

AMOUNTS_WEI = [0, 1, 400, 10**6, HUGE_WEI, MAX_WEI, MAX_UINT]

actors = st.sampled_from(ACTORS)
anybody = st.sampled_from(EVERYBODY)
dice = st.integers(0, 2**32 - 1).map(lambda seed: crc32(seed.to_bytes(4, "big")))
"""Whatever is chosen from a list. Scrambled: Hypothesis likes small and repeated numbers, and would skip most lies."""


def changed(word: bytes) -> bytes:
    return word[:-1] + bytes(byte ^ 1 for byte in word[-1:])


def replace_at(name: str, index: int, change: Callable[[Any], Any]) -> Lie:
    def lie(args: Arguments) -> None:
        items = list(args[name])
        if items:
            items[index] = change(items[index])
        args[name] = items

    return lie


def set_to(name: str, change: Callable[[Any], Any]) -> Lie:
    def lie(args: Arguments) -> None:
        args[name] = change(args[name])

    return lie


def _row_with(index: int) -> Callable[[Row], Row]:
    return lambda row: (*row[:index], changed(row[index]), *row[index + 1 :])  # type: ignore[return-value]


def tampered(tamper: Tamper) -> Lie:
    return set_to("signature", lambda signature: tamper(signature) if signature else signature)


SIGNATURE_LIES = [tampered(tamper) for tamper, _reason in INVALID_SIGNATURES]


def lists(name: str) -> list[Lie]:
    """What may be wrong with a list of n items: too few, too many, far too many, disorder, one twice."""
    return [
        set_to(name, lambda items: items[:-1]),
        set_to(name, lambda items: [*items, *items[-1:]]),
        set_to(name, lambda items: [*items, *items[-1:] * 64]),
        set_to(name, lambda items: items[::-1]),
        set_to(name, lambda items: [*items[:1], *items[:-1]]),
    ]


GOOD_TERMS: list[Arguments] = [
    {},
    {},
    {"n": 17, "k_pay": 12, "k_slash": 2},
    {"n": 32, "k_pay": 22, "k_slash": 0},
    {"n": 64, "k_pay": 43, "max_tokens": MAX_UINT, "w": 16},
    {"slashing": False},
    {"weights": 1},
    {"weights": 2},
    {"weights": 2, "quorum": 1, "min_coverage_bps": 0},
    {"weights": 2, "quorum": 3},
    {"reward": 0, "fee": 0, "miner_bond": 0, "availability_bond": 0, "validator_bond": 0, "answer_fee": 0},
    {"reward": 100, "availability_bond": 50, "validator_bond": 120, "answer_fee": 20},
    {"miner_bond": 60_000_000},
    {"train_seconds": YEAR_S, "dispute_seconds": YEAR_S},
]
BAD_TERMS: list[Arguments] = [
    {"commitment": k(b"opens with nothing")},
    {"w": 0},
    {"w": 17, "max_tokens": 17},
    {"n": 15},
    {"n": 65, "k_pay": 50},
    {"k_pay": 10},
    {"k_pay": 17},
    {"k_pay": MAX_UINT},
    {"k_slash": 3},
    {"k_slash": MAX_UINT},
    {"max_tokens": 3},
    {"weights": 3},
    {"min_coverage_bps": 10_001},
    {"quorum": 17},
    {"weights": 2, "quorum": 0},
    {"reward": MAX_WEI + 1},
    {"fee": MAX_UINT},
    {"fee": MAX_WEI},
    {"miner_bond": MAX_WEI + 1},
    {"availability_bond": MAX_WEI + 1},
    {"validator_bond": MAX_WEI + 1},
    {"validator_bond": MAX_WEI},
    {"answer_fee": MAX_WEI + 1},
    {"validator_bond": 1_039},
    {"availability_bond": 501},
    {"miner_epoch": 0},
    {"miner_epoch": 99},
    *({name: 1} for name in ("accept_seconds", "train_seconds", "submitted_seconds", "challenged_seconds")),
    *({name: 1} for name in ("answered_seconds", "judging_seconds", "dispute_seconds")),
    *({name: YEAR_S + 1} for name in ("accept_seconds", "train_seconds", "submitted_seconds", "challenged_seconds")),
    *({name: MAX_UINT} for name in ("answered_seconds", "judging_seconds", "dispute_seconds")),
]
ORDER_LIES: list[Arguments] = [
    {"validator": GUARDIAN},
    {"max_reward": 0},
    {"max_fee": 0},
    {"spec_hash": ZERO},
    {"min_n": 65},
    {"min_k_pay": 65},
    {"expiry": 0},
]


class Opening(NamedTuple):
    """What is out of order about an opening; nothing by default."""

    terms: Mapping[str, Any] = MappingProxyType({})
    order: Mapping[str, Any] = MappingProxyType({})
    tamper: Lie | None = None
    is_signed_by_another: bool = False
    is_sent_by_another: bool = False
    is_replayed: bool = False


OPENING_LIES = [
    *(Opening(terms=terms) for terms in BAD_TERMS),
    *(Opening(order=order) for order in ORDER_LIES),
    *(Opening(tamper=tamper) for tamper in SIGNATURE_LIES),
    Opening(is_signed_by_another=True),
    Opening(is_sent_by_another=True),
    *[Opening(is_replayed=True)] * 3,
]

CALLED_NEXT = {
    OPEN: ["accept"],
    ACCEPTED: ["submit"],
    SUBMITTED: ["settle", "settle", "challenge"],
    CHALLENGED: ["answer"],
    ANSWERED: ["settle"],
    JUDGING: ["judge"],
    SLASH_PENDING: ["dispute"],
}
WEIGHTS_JUDGED = 2
ZONE_EDGES = 6
NONE_HIT, ALL_HIT = 0, 3 * (ZONE_EDGES - 1)
"""Ways through `settle` and `answer`: see `Market._arguments`."""
CALLS = ["accept", "submit", "challenge", "answer", "settle", "judge", "dispute", "poke"]


def _forge_another_model(args: Arguments) -> None:
    args["signature"] = args["spare"]["signature of another model"]


def _contradict_with(name: str) -> Lie:
    def lie(args: Arguments) -> None:
        args["other"], args["proof"] = args["spare"][name]

    return lie


def _tamper_with_verdict(tamper: Lie) -> Lie:
    def change(verdict: tuple[int, int, bytes, bytes]) -> tuple[int, int, bytes, bytes]:
        signed = {"signature": verdict[3]}
        tamper(signed)
        return (*verdict[:3], signed["signature"])

    return replace_at("verdicts", 0, change)


def _with_verdicts_of(name: str) -> Lie:
    def lie(args: Arguments) -> None:
        args["verdicts"] = args["spare"][name]

    return lie


LIES: dict[str, list[Lie]] = {
    "accept": [set_to("dataset_root", changed)],
    "submit": [set_to("model_hash", lambda _: ZERO)],
    "challenge": [*lists("leaves"), replace_at("leaves", -1, lambda _: b"\xff" * 32)],
    "answer": lists("replies"),
    "settle": [
        *lists("rows"),
        *lists("replies"),
        *lists("proofs"),
        *SIGNATURE_LIES,
        _forge_another_model,
        set_to("signature", lambda _: b"\1"),
        set_to("salt", changed),
        set_to("proofs", lambda _: []),
        *(replace_at("rows", index, _row_with(column)) for index in (0, -1) for column in range(3)),
        replace_at("replies", 0, changed),
        replace_at("replies", -1, changed),
        replace_at("proofs", -1, lambda proof: [*proof[:-1], ZERO]),
        replace_at("proofs", 0, lambda proof: proof[:-1]),
        replace_at("proofs", 0, lambda proof: [*proof] + [ZERO] * 24),
    ],
    "judge": [
        replace_at("committee", 0, lambda _: GUARDIAN),
        set_to("committee", lambda _: []),
        set_to("committee", lambda members: [*members] * 6),
        set_to("verdicts", lambda verdicts: verdicts[:-1]),
        set_to("verdicts", lambda verdicts: verdicts[::-1]),
        set_to("verdicts", lambda verdicts: [*verdicts] * 2),
        set_to("verdicts", lambda verdicts: [*verdicts] * 17),
        *(_tamper_with_verdict(tamper) for tamper in SIGNATURE_LIES),
        *(_with_verdicts_of(name) for name in ("too few hits", "too little coverage", "an outsider")),
    ],
    "dispute": [
        *lists("leaves")[:3],
        *(set_to(name, _row_with(column)) for name in ("mark", "other") for column in range(3)),
        set_to("proof", lambda proof: proof[:-1]),
        set_to("proof", lambda proof: [*proof] * 24),
        _contradict_with("the mark itself"),
        _contradict_with("another row"),
    ],
    "poke": [],
}


class Market(RuleBasedStateMachine):
    """Five actors, a guardian, a committee, and as many tasks as come about."""

    steps = 0
    """Calls and jumps in time that were compared, over all runs."""
    finished: list[Rig] | None = None
    """Where runs are kept when they are over, if anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.openings = 0

    def call(self, sender: str, name: str, *args: Any, value: int = 0) -> None:
        Market.steps += 1
        self.rig.both(sender, name, *args, value=value)

    def state(self, round_: Round) -> int:
        return self.rig.model.world.tasks[round_.task_id].state

    # --- time and accounts

    @rule(task=dice, offset_s=st.sampled_from([-1, 0, 1]), is_poked=st.booleans())
    def pass_time(self, task: int, offset_s: int, is_poked: bool) -> None:
        """A second, or up to where a deadline is passed or not."""
        Market.steps += 1
        running = self.rig.running()
        if task % 2 or not running:
            self.rig.advance(self.rig.model.now + 1)
            return
        round_ = running[task % len(running)]
        self.rig.advance(self.rig.model.world.tasks[round_.task_id].deadline + offset_s)
        if is_poked:
            self.call(GUARDIAN, "poke", round_.terms, round_.nonce)

    @rule(actor=anybody, name=st.sampled_from(["deposit", "withdraw", "stake", "request_unstake", "unstake"]), by=dice)
    def move_money(self, actor: str, name: str, by: int) -> None:
        amount = AMOUNTS_WEI[by % len(AMOUNTS_WEI)]
        if name == "deposit":
            self.call(actor, name, value=min(amount, MAX_WEI + 1))
        elif name == "unstake":
            ready_at = self.rig.model.account(actor).unstake_ready_at
            if ready_at and by % 2:
                self.rig.advance(ready_at - by // 2 % 2)
            self.call(actor, name)
        else:
            self.call(actor, name, amount if by % 4 else self.rig.model.account(actor).credit + by % 2)

    @rule(
        actor=anybody,
        key=st.sampled_from([*EVIDENCE_KEYS, NOBODY]),
        name=st.sampled_from(["register", "rotate_evidence_key", "cancel_order", "stake", "sunset"]),
        odd=dice,
    )
    def change_an_account(self, actor: str, key: str, name: str, odd: int) -> None:
        """Registration and keys, orders taken back, ether where none is taken, and, rarely, the end of openings."""
        if name == "register":
            self.call(actor, name, key, "x" * (0, 31, 256, 257)[odd % 4], k(key.encode()))
        elif name == "rotate_evidence_key":
            self.call(actor, name, key)
        elif name == "cancel_order":
            self.call(actor, name, (self.openings, 255, 256, MAX_UINT)[odd % 4])
        elif name == "stake":
            self.call(actor, name, 0, value=odd % 2)
        elif actor != GUARDIAN or odd % 8 == 0:
            self.call(actor, name)

    # --- tasks

    @rule(
        payer=actors,
        validator=actors,
        miner=actors,
        terms=st.sampled_from(GOOD_TERMS),
        is_offer=st.booleans(),
        calls=st.integers(0, 6),
        way=dice,
    )
    def open(
        self, payer: str, validator: str, miner: str, terms: Arguments, is_offer: bool, calls: int, way: int
    ) -> None:
        before = len(self.rig.rounds)
        self._open(payer, validator, miner, terms, is_offer, Opening())
        if len(self.rig.rounds) > before:
            self._proceed(self.rig.rounds[-1], calls, way)

    @rule(payer=actors, validator=actors, miner=actors, lie=st.sampled_from(OPENING_LIES), is_offer=st.booleans())
    def open_with_a_lie(self, payer: str, validator: str, miner: str, lie: Opening, is_offer: bool) -> None:
        self._open(payer, validator, miner, lie.terms, is_offer, lie)

    def _open(self, payer: str, validator: str, miner: str, changes: Arguments, is_offer: bool, lie: Opening) -> None:
        Market.steps += 1
        rig = self.rig
        self.openings += 1
        salt = k(b"salt %d" % self.openings)
        if lie.is_replayed and rig.rounds:
            payer, validator, miner = rig.rounds[-1].terms[:3]
            changes = {"commitment": rig.rounds[-1].terms.commitment}
        terms = rig.make_terms(payer, validator, miner, salt, **changes)
        if is_offer:
            expiry = rig.model.now - ("expiry" in lie.order)
            signer, sender = validator, payer
            digest = rig.model.digest_offer(terms, rig.model.account(validator).next_nonce, expiry)
            evidence: Arguments = {"expiry": expiry}
        else:
            order = rig.make_order(terms, self.openings)._replace(**lie.order)
            signer, sender = payer, validator
            digest = rig.model.digest_order(order)
            evidence = {"order": order}
        evidence["signature"] = sign(GUARDIAN if lie.is_signed_by_another else signer, digest)
        if lie.tamper is not None:
            lie.tamper(evidence)
        name = "open_task_with_offer" if is_offer else "open_task"
        rig.open(name, terms, salt, GUARDIAN if lie.is_sent_by_another else sender, *evidence.values())

    @precondition(lambda self: self.rig.running())
    @rule(task=dice, calls=st.integers(1, 5), way=dice)
    def proceed(self, task: int, calls: int, way: int) -> None:
        """A task goes its way for some calls: what the protocol asks for next, by who must."""
        running = self.rig.running()
        self._proceed(running[task % len(running)], calls, way)

    def _proceed(self, round_: Round, calls: int, way: int) -> None:
        for _ in range(calls):
            names = CALLED_NEXT.get(self.state(round_))
            if names is None:
                return
            self._act(round_, names[way % len(names)], way, None, None)

    @precondition(lambda self: self.rig.running())
    @rule(task=dice, goal=st.sampled_from(list(CALLED_NEXT)), lie=dice, way=dice, sender=st.none() | anybody)
    def lie_in_a_state(self, task: int, goal: int, lie: int, way: int, sender: str | None) -> None:
        """A task is led to a state if it can still get there; the next call then holds a lie, or comes from anybody."""
        running = self.rig.running()
        fitting = [round_ for round_ in running if self._can_reach(round_, goal)] or running
        round_ = fitting[task % len(fitting)]
        if not self._lead(round_, goal):
            return
        names = CALLED_NEXT.get(self.state(round_), CALLS)
        name = names[way % len(names)]
        lies = LIES[name]
        self._act(round_, name, way, lies[lie % len(lies)] if lies and sender is None else None, sender)

    def _lead(self, round_: Round, goal: int) -> bool:
        """Honest calls until the task is in the state `goal`, or cannot get there."""
        while (state := self.state(round_)) < goal:
            is_asked = state == SUBMITTED and goal in (CHALLENGED, ANSWERED)
            name = "challenge" if is_asked else CALLED_NEXT[state][0]
            self._act(round_, name, ALL_HIT if goal == JUDGING else NONE_HIT, None, None)
            if self.state(round_) == state:
                return False
        return True

    def _can_reach(self, round_: Round, goal: int) -> bool:
        terms = round_.terms
        is_allowed = {JUDGING: terms.weights == WEIGHTS_JUDGED, SLASH_PENDING: terms.slashing}.get(goal, True)
        return is_allowed and self.state(round_) <= goal

    @precondition(lambda self: self.rig.rounds)
    @rule(task=dice, name=st.sampled_from([*CALLS, *CALLS, "other terms"]), way=dice, sender=st.none() | anybody)
    def call_out_of_turn(self, task: int, name: str, way: int, sender: str | None) -> None:
        """Whatever the state; with ether now and then; by terms that differ in one place from those that opened it."""
        round_ = self.rig.rounds[task % len(self.rig.rounds)]
        if name == "other terms":
            changes = ({"validator_bond": 1_400}, {"miner": GUARDIAN}, {"commitment": ZERO})[way % 3]
            self.call(GUARDIAN, "poke", round_.terms._replace(**changes), round_.nonce)
        else:
            self._act(round_, name, way, None, sender, value=int(way % 16 == 0))

    def _act(self, round_: Round, name: str, way: int, lie: Lie | None, sender: str | None, value: int = 0) -> None:
        default_sender, args = self._arguments(round_, name, way)
        spare = args.pop("spare", {})
        if lie is not None:
            args["spare"] = spare
            lie(args)
            del args["spare"]
        self.call(sender or default_sender, name, round_.terms, round_.nonce, *args.values(), value=value)

    def _arguments(self, round_: Round, name: str, way: int) -> tuple[str, Arguments]:
        """Who makes a call, and with which good arguments; `spare` holds what only lies need."""
        terms, data = round_.terms, round_.data
        hits = (0, terms.k_slash, terms.k_slash + 1, terms.k_pay - 1, terms.k_pay, terms.n)[way // 3 % ZONE_EDGES]
        match name:
            case "accept":
                return terms.miner, {"dataset_root": terms.dataset_root}
            case "submit":
                return terms.miner, {"model_hash": k(b"a model")}
            case "challenge":
                return terms.validator, {"leaves": round_.leaves}
            case "answer":
                return terms.miner, {"replies": round_.replies(hits)}
            case "settle":
                args = self.rig.settlement(round_, hits)
                if hits >= terms.k_pay and terms.weights < 2 and way % 2:
                    args["proofs"] = []
                forged = self.rig.sign_transcript(round_, args["replies"], model_hash=k(b"another"))
                return terms.validator, args | {"spare": {"signature of another model": forged}}
            case "judge":
                return GUARDIAN, self._judgement(round_)
            case "dispute":
                spare = {
                    "the mark itself": (data.marks[0], data.proofs[0]),
                    "another row": (data.plain, data.proof_of_plain),
                }
                args = {"leaves": round_.leaves, "mark": data.marks[0], "other": data.contradiction}
                return GUARDIAN, args | {"proof": data.proof_of_contradiction, "spare": spare}
            case _:
                return GUARDIAN, {}

    def _judgement(self, round_: Round) -> Arguments:
        members = COMMITTEE[: max(1, round_.terms.quorum)]
        spare = {
            "too few hits": [self.rig.verdict(round_, member, hits=round_.terms.k_pay - 1) for member in members],
            "too little coverage": [self.rig.verdict(round_, member, coverage_low_bps=0) for member in members],
            "an outsider": [self.rig.verdict(round_, member) for member in sorted([GUARDIAN, *members])],
        }
        verdicts = [self.rig.verdict(round_, member) for member in members]
        return {"committee": COMMITTEE, "verdicts": verdicts, "spare": spare}

    def teardown(self) -> None:
        self.rig.end_everything()
        if self.finished is not None:
            self.finished.append(self.rig)


def tell_every_lie() -> list[Rig]:
    """Each lie and each stranger once, in every state that the call belongs to: what random runs meet only in time."""
    rigs = []
    for is_offer in (False, True):
        market = Market()
        for lie in OPENING_LIES:
            market._open(*ACTORS[:3], GOOD_TERMS[0], is_offer, Opening())
            market._open(*ACTORS[:3], lie.terms, is_offer, lie)
        rigs.append(market.rig)
    rigs.append(_tell_lies_about_accounts())
    for state, names in CALLED_NEXT.items():
        terms = {"weights": WEIGHTS_JUDGED} if state == JUDGING else {}
        for name in dict.fromkeys([*names, "poke"]):
            market = Market()
            for lie in [None, *LIES[name]]:
                market._open(*ACTORS[:3], terms, False, Opening())
                round_ = market.rig.rounds[-1]
                market._lead(round_, state)
                if lie is None:
                    market._act(round_, name, NONE_HIT, None, None, value=1)
                    market._act(round_, name, NONE_HIT, None, GUARDIAN)
                else:
                    market._act(round_, name, NONE_HIT, lie, None)
                    market._act(round_, name, ALL_HIT, lie, None)
            rigs.append(market.rig)
    for rig in rigs:
        rig.end_everything()
    return rigs


def _tell_lies_about_accounts() -> Rig:
    """What an account may not do, alone and around its tasks, and the end of openings."""
    market, (payer, validator, miner) = Market(), ACTORS[:3]
    for actor in (miner, GUARDIAN):
        market.call(actor, "register", NOBODY, "", ZERO)
        market.call(actor, "rotate_evidence_key", NOBODY)
        market.call(actor, "rotate_evidence_key", EVIDENCE_KEYS[5])
        market.call(actor, "deposit", value=MAX_WEI + 1)
        market.call(actor, "withdraw", MAX_UINT)
        market.call(actor, "unstake")
        market.call(actor, "request_unstake", MAX_UINT)
        market.call(actor, "cancel_order", MAX_UINT)
        market.call(actor, "cancel_order", MAX_UINT)
    for _ in range(2):
        market.call(payer, "deposit", value=HUGE_WEI)
        market.call(payer, "stake", HUGE_WEI)
    market.call(miner, "request_unstake", 1)
    market.call(miner, "unstake")
    for _ in range(2):
        market._open(payer, validator, miner, {}, False, Opening())
    late, stale = market.rig.rounds
    market.call(miner, "register", EVIDENCE_KEYS[2], "", ZERO)
    market._act(stale, "accept", NONE_HIT, None, None)
    for _ in range(2):
        market._open(payer, validator, miner, {"miner_bond": 60_000_000}, False, Opening())
        market._act(market.rig.rounds[-1], "accept", NONE_HIT, None, None)
    market.call(miner, "register", EVIDENCE_KEYS[2], "", ZERO)
    market.call(miner, "rotate_evidence_key", EVIDENCE_KEYS[2])
    market._act(late, "poke", NONE_HIT, None, None)
    market.call(DEAF, "withdraw", 1)
    settled = market.rig.rounds[-2]
    market._lead(settled, SUBMITTED)
    for round_, name in ((late, "accept"), (settled, "settle")):
        market.rig.advance(market.rig.model.world.tasks[round_.task_id].deadline + 1)
        market._act(round_, name, ALL_HIT, None, None)
        market._act(round_, "poke", ALL_HIT, None, None)
    market._act(late, "poke", ALL_HIT, None, None)
    for sender in (payer, GUARDIAN, GUARDIAN):
        market.call(sender, "sunset")
    market._open(payer, validator, miner, {}, True, Opening())
    return market.rig
