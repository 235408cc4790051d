"""Every script of `tests/contracts/attacks`: what is refused, how its tasks end, what each party gains, to the wei."""

from dataclasses import replace
from types import ModuleType

import pytest

from contracts import TaskState
from tests.contracts.attacks import ATTACKS, by_colluders, by_miners, by_miners_accounts, by_terms, by_validators, gas
from tests.contracts.attacks.amounts import ANSWER_FEE, FEE, NOTHING, PARTIES, moved_by
from tests.contracts.attacks.document import DEFAULTS, DOCUMENT, with_generated
from tests.contracts.attacks.evidence import check_evidence
from tests.contracts.attacks.registry import CATALOGUE, NOT_SCRIPTED, Attack
from tests.contracts.attacks.stage import Stage
from tests.contracts.market import Market
from tests.contracts.rounds import NOBODY

ROUND = Market().make_round().terms
LEGAL_TERMS = {
    "of the tests": ROUND,
    "by default": DEFAULTS,
    # A smaller miner bond is legal, but the answer fee is more than that: see the residual.
    "with the least bonds": replace(
        ROUND,
        miner_bond=ROUND.answer_fee,
        availability_bond=(ROUND.reward + 1) // 2,
        validator_bond=ROUND.reward + ROUND.answer_fee,
    ),
    "for a reward of nothing": replace(ROUND, reward=0, fee=0, validator_bond=ROUND.answer_fee),
}


def by_name(attacks: list[Attack]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attack", attacks, ids=[attack.script.__name__ for attack in attacks])


def scripts_of(*modules: ModuleType) -> list[Attack]:
    return [attack for attack in ATTACKS if attack.script.__module__ in {module.__name__ for module in modules}]


def merge(amounts_wei: dict[str, int], attack: Attack) -> dict[str, int]:
    merged = dict(amounts_wei)
    for party, person in attack.one_person.items():
        merged[person] += merged[party]
        merged[party] = 0
    return merged


@by_name(ATTACKS)
def test_an_attack_ends_as_declared_to_the_wei(attack: Attack) -> None:
    stage = Stage()
    before, burned_before = stage.worth(), stage.chain.balance(NOBODY)
    result = attack.script(stage)
    rounds = result if isinstance(result, tuple) else (result,)

    assert tuple(stage.refusals) == attack.refused
    assert tuple(stage.task(round_).state for round_ in rounds) == attack.ends
    opened = [event.args["task_id"] for event in stage.events if event.name == "TaskOpened"]
    assert sorted(opened) == sorted(round_.task_id for round_ in rounds)

    moved = {party: worth - before[party] for party, worth in stage.worth().items()}
    moved["burned"] = stage.chain.balance(NOBODY) - burned_before
    terms = rounds[0].terms if rounds else ROUND
    assert merge(moved, attack) == attack.moved.wei(terms)
    assert sum(moved.values()) == 0
    check_evidence(stage)


@pytest.mark.parametrize("outcome", [TaskState.PAID, TaskState.OPEN_LAPSED])
def test_honest_play_is_what_profits_are_counted_from(outcome: TaskState) -> None:
    """A miner that has trained is paid, one that has not declines: what either moves, played without any attack."""
    stage = Stage()
    before = stage.worth()
    round_ = stage.lapse(stage.reach(TaskState.OPEN)) if outcome is not TaskState.PAID else stage.pay(stage.submitted())
    assert stage.task(round_).state is outcome
    moved = {party: worth - before[party] for party, worth in stage.worth().items()}
    assert {"burned": 0} | moved == moved_by(outcome, is_answered=False).wei(round_.terms)


@by_name(ATTACKS)
@pytest.mark.parametrize("terms", LEGAL_TERMS)
def test_attackers_gain_nothing_but_what_is_written_down(attack: Attack, terms: str) -> None:
    """Whatever legal bonds the terms name."""
    assert attack.attackers_profit.wei(LEGAL_TERMS[terms]) <= attack.bound.wei(LEGAL_TERMS[terms])
    assert (attack.residual is not None) == bool(attack.bound)


@by_name(scripts_of(by_validators, by_terms, by_colluders))
def test_a_lying_validator_hurts_no_honest_miner(attack: Attack) -> None:
    """Nor does the payer and it together gain, except where the threat model says so."""
    if attack.residual:
        return
    for terms in LEGAL_TERMS.values():
        assert attack.profit.of("payer", "validator").wei(terms) <= 0
        if "miner" not in attack.by and attack.one_person.get("miner") not in attack.by:
            assert attack.profit.miner.wei(terms) >= 0
            assert TaskState.SLASHED not in attack.ends


@by_name(scripts_of(by_miners, by_miners_accounts))
def test_a_lying_miner_costs_a_payer_no_reward(attack: Attack) -> None:
    """No more than the fee of an honest verdict; and a validator no more than an answer."""
    if attack.residual or "validator" in attack.by:
        return
    assert attack.profit.payer in (NOTHING, -FEE)
    assert attack.profit.validator in (NOTHING, FEE, FEE - ANSWER_FEE)


def test_every_row_of_the_catalogue_has_a_script_or_a_reason() -> None:
    scripted = {row for attack in ATTACKS for row in attack.rows}
    assert scripted | set(NOT_SCRIPTED) == set(CATALOGUE)
    assert not scripted & set(NOT_SCRIPTED)


def test_names_are_sentences_and_parties_are_known() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    for attack in ATTACKS:
        assert attack.name.endswith(".")
        assert set(attack.by) | set(attack.one_person) <= set(PARTIES)


@pytest.mark.parametrize(("size", "n", "k"), [(0, 16, 300), (1, 64, 3_200)])
def test_steps_cost_the_gas_that_is_printed(size: int, n: int, k: int) -> None:
    for step, measured in gas.measure(n, k):
        assert 0.85 * step.gas[size] <= measured <= step.gas[size], f"{step.name}: {measured:,}"


def test_the_threat_model_prints_these_scripts() -> None:
    """If not: `python -m tests.contracts.attacks`."""
    document = DOCUMENT.read_text("utf-8")
    assert document == with_generated(document)
