"""The contract against its model: every state, balance, event and reason, over random runs (E12).

`make soak` plays a million steps and judges 100,000 transcripts; `make test` its share of both.
"""

import random

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from contracts import SOURCE_PATH
from tests.contracts.anvil import Anvil
from tests.contracts.evm import GENESIS_S, Chain
from tests.contracts.model.branches import Branch, TracedEvm, source_map
from tests.contracts.model.machine import Market, Opening, tell_every_lie
from tests.contracts.model.reference import JUDGING, PAID, REFUNDED, SLASH_PENDING, SUBMITTED, ZERO
from tests.contracts.model.rig import ACTORS, Rig, Round
from tests.contracts.test_artifact import REASON
from tests.unit.protocol.second_implementation import k
from validator.protocol.verdict import Thresholds, Zone, count_hits

RUNS_A_BATCH, STEPS_A_RUN = 100, 50
STEPS_IN_TEST, STEPS_IN_SOAK = 10_000, 1_000_000
TRANSCRIPTS_IN_TEST, TRANSCRIPTS_IN_SOAK = 3_000, 100_000


def play(batch: int, runs: int = RUNS_A_BATCH) -> list[Rig]:
    """So many runs, always the same ones for the same batch; a failure shows the shortest run that fails."""
    Market.finished = []
    options = settings(
        max_examples=runs,
        stateful_step_count=STEPS_A_RUN,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(batch)(Market), settings=options)
    return Market.finished


def play_steps(steps: int, first_batch: int = 0) -> None:
    before, batch = Market.steps, first_batch
    while Market.steps - before < steps:
        play(batch)
        batch += 1
        print(f"{Market.steps - before:,} of {steps:,} steps, batch {batch}", flush=True)


@pytest.mark.parametrize("share", range(2))
def test_contract_and_model_never_differ(share: int) -> None:
    play_steps(STEPS_IN_TEST // 2, first_batch=1_000 * share)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_contract_and_model_never_differ_in_a_million_steps() -> None:
    play_steps(STEPS_IN_SOAK, first_batch=10_000)


def test_every_lie_is_refused_with_the_reason_that_the_model_gives() -> None:
    """Every reason of the source but the constructor's and the one of a function that is not there is met here."""
    outcomes = {call.outcome for rig in tell_every_lie() for call in rig.calls if isinstance(call.outcome, str)}
    reasons = set(REASON.findall(SOURCE_PATH.read_text())) - {"module: reason"}
    assert reasons - outcomes <= {"network: duration too long", "touchstone: no such function"}
    assert outcomes - reasons == {""}


def replay(rig: Rig, chain: Chain) -> None:
    """The very bytes of a run, sent once more elsewhere: the same logs and reasons, the same accounts at the end."""
    chain.now = GENESIS_S
    other = Rig(chain)
    assert rig.calls[: len(other.calls)] == other.calls
    for call in rig.calls[len(other.calls) :]:
        chain.now = call.now
        assert other._transact(*call[1:-1]) == call.outcome
    other.model, other.rounds = rig.model, rig.rounds
    other.compare()


def test_a_real_node_does_the_same(anvil: Anvil) -> None:
    """Runs of the state machine, byte for byte on anvil."""
    for rig in play(0, runs=8):
        with anvil.rolled_back():
            replay(rig, anvil)


def test_every_branch_of_the_source_is_reached() -> None:
    """By the model's own runs, so on every branch contract and model agree."""
    taken: set[Branch] = set()
    for rig in [*tell_every_lie(), *play(0, runs=10)]:
        traced = TracedEvm()
        replay(rig, traced)
        taken |= traced.taken
    where = source_map()
    branches = where.all_branches()
    print(f"\n{len(taken)} of {len(branches)} branches")
    assert sorted(branches - taken) == []
    in_constructor = 1
    assert len(set(where.check_calls.values())) == SOURCE_PATH.read_text().count("self._check(") - in_constructor


def random_replies(round_: Round, dice: random.Random) -> list[bytes]:
    """From none to all hits, at random places; the rest silence, garbage, and heads of other rows."""
    rate = dice.choice([0, 1, dice.random(), dice.betavariate(0.5, 8), round_.terms.k_pay / round_.terms.n])
    heads = [row[1] for row in round_.data.marks]
    misses = (ZERO, k(b"garbage"), dice.choice(heads))
    return [head if dice.random() < rate else dice.choice(misses) for head in heads]


def judge_transcripts(count: int, first_seed: int) -> None:
    """H0: none; an exact comparison of bytecode, model and `validator.protocol.verdict` over random transcripts."""
    market, dice = Market(), random.Random(first_seed)
    rounds = []
    for terms in (
        {"n": 16, "k_pay": 11, "k_slash": 2},
        {"n": 16, "slashing": False},
        {"n": 16, "weights": 2},
        {"n": 32, "k_pay": 32, "k_slash": 4},
        {"n": 64, "k_pay": 48, "k_slash": 8},
        {"n": 64, "k_pay": 43, "k_slash": 0},
    ):
        market._open(*ACTORS[:3], terms, False, Opening())
        rounds.append(market.rig.rounds[-1])
        assert market._lead(rounds[-1], SUBMITTED)
    rig, zones = market.rig, dict.fromkeys(Zone, 0)
    for _ in range(count):
        round_ = dice.choice(rounds)
        terms, replies = round_.terms, random_replies(round_, dice)
        thresholds = Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing)
        hits = count_hits([row[1] for row in round_.data.marks], replies)
        zone = thresholds.zone(hits)
        zones[zone] += 1
        args = rig.settlement(round_, 0) | {"replies": replies, "signature": rig.sign_transcript(round_, replies)}
        with rig.chain.rolled_back(), rig.model.undone():
            rig.both(terms.validator, "settle", terms, round_.nonce, *args.values())
            settled = rig.model.world.tasks[round_.task_id]
            assert (settled.hits, settled.state) == (hits, expected_state(zone, terms.weights))
        rig.closed.clear()
        round_.evidence.clear()
        round_.settled = ()
    assert min(zones.values()) > count // 20


def expected_state(zone: Zone, weights: int) -> int:
    if zone is Zone.PAID:
        return JUDGING if weights == 2 else PAID
    return SLASH_PENDING if zone is Zone.SLASHED else REFUNDED


@pytest.mark.parametrize("share", range(2))
def test_bytecode_model_and_verdict_judge_alike(share: int) -> None:
    judge_transcripts(TRANSCRIPTS_IN_TEST // 2, first_seed=share)


@pytest.mark.soak
@pytest.mark.timeout(2 * 3600)
def test_bytecode_model_and_verdict_judge_100_000_transcripts_alike() -> None:
    judge_transcripts(TRANSCRIPTS_IN_SOAK, first_seed=10)
