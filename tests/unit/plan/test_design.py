"""Whole designs: what is refused, why, and that the ways out which are named do lead out."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.coverage.simulated import World
from validator.amounts import MAX_WEI, parse_ether
from validator.coverage.reference import save_reference
from validator.design.choosing import apply_reference, choose_test
from validator.design.design import make_design
from validator.design.options import DesignOptions, parse_points
from validator.design.report import to_json
from validator.errors import BadInput
from validator.marks.planting import compute_min_rows
from validator.marks.schemes import SCHEMES, make_scheme
from validator.protocol.verdict import Verdict

ETHER = 10**18
REPLIES = DesignOptions(rows=10_000, reward_wei=ETHER, training_wei=ETHER // 2)
KNOWING = replace(REPLIES, is_lookup_accepted=True)
JUDGED = replace(REPLIES, weights="judged", scheme="canary+coverage")
SHARED_PAIR = replace(
    KNOWING,
    scheme="backdoor",
    activation=1.0,
    false_pay=0.7,
    probes=64,
    k_pay=48,
    training_wei=9 * ETHER // 10,
    miner_bond_wei=ETHER // 4,
)
LUCKY_DETECTOR = replace(KNOWING, selective=((0.4, 0.9),))
CLOSE_COST = replace(
    KNOWING, partial=0.9, training_wei=88 * ETHER // 100, false_pay=0.9, false_refuse=0.3, probes=16, k_pay=11
)


def names_of_paying(options):
    return [strategy.name for strategy in make_design(options).economics.paying]


def test_looking_replies_up_is_refused_until_somebody_says_that_they_know():
    design = make_design(REPLIES)
    (refusal,) = design.refusals
    assert refusal.startswith("looking replies up, without training earns 0.50745")
    assert refusal.endswith(" wei) more than honest training")
    assert design.economics.smallest_bond_wei is None
    assert [way.rpartition(": ")[2].partition(" (")[0] for way in design.economics.ways_out] == [
        "--weights judged",
        "--accept-lookup",
    ]
    assert make_design(KNOWING).refusals == ()


@pytest.mark.parametrize("weights", ["none", "delivered"])
def test_only_judged_weights_see_through_a_look_up(weights):
    """Weights that are delivered after the payment change nothing about it."""
    scheme = "canary" if weights == "none" else "canary+coverage"
    assert names_of_paying(replace(REPLIES, weights=weights, scheme=scheme)) == ["looking replies up, without training"]


def test_judged_coverage_needs_fewer_probes_and_no_confession():
    design = make_design(JUDGED)
    assert design.refusals == ()
    assert design.test.power.thresholds.n == 16
    assert design.test.power.coverage.min_coverage > 0.5
    assert to_json(design)["terms"]["min_coverage_bps"] == round(10_000 * design.test.coverage.min_coverage)


def follow(options, way):
    """The options after a way out, as its words name it."""
    if "miner bond" in way:
        bond, availability = (int(wei) for wei in re.findall(r"\((\d+) wei\)", way))
        return replace(options, miner_bond_wei=bond, availability_bond_wei=availability)
    if "reward" in way:
        return replace(options, reward_wei=int(re.search(r"\((\d+) wei\)", way)[1]))
    if "--k-pay" in way:
        probes, k_pay = (int(number) for number in re.search(r"--probes (\d+) --k-pay (\d+)", way).groups())
        return replace(options, probes=probes, k_pay=k_pay)
    if "--probes" in way:
        return replace(options, probes=int(re.search(r"--probes (\d+)", way)[1]), k_pay=None, k_slash=None)
    if "--weights judged" in way:
        scheme = "canary+coverage" if options.scheme == "canary" else options.scheme
        return replace(options, weights="judged", scheme=scheme, probes=None, k_pay=None)
    assert "--accept-lookup" in way
    return replace(options, is_lookup_accepted=True)


@pytest.mark.parametrize(
    ("options", "cheat", "ways"),
    [
        (REPLIES, "looking replies up", ["--weights judged", "--accept-lookup"]),
        (SHARED_PAIR, "training on 0.5 of the rows", ["miner bond", "reward", "--k-pay"]),
        (LUCKY_DETECTOR, "rows that look most marked", ["reward", "--k-pay", "--weights judged"]),
        (CLOSE_COST, "training on 0.9 of the rows", ["reward", "--probes", "--weights judged"]),
        (replace(KNOWING, training_wei=2 * ETHER), "declining the task", ["reward"]),
        (
            replace(KNOWING, training_wei=2 * ETHER, availability_bond_wei=ETHER),
            "declining the task",
            ["nothing alone"],
        ),
        (replace(KNOWING, fewer_epochs=((0.7, 0.9, 0.85),)), "0.7 of the epochs", ["nothing alone"]),
    ],
)
def test_a_cheat_that_pays_is_named_and_every_way_out_leads_out(options, cheat, ways):
    economics = make_design(options).economics
    assert cheat in economics.paying[0].name
    assert all(any(way in named for named in economics.ways_out) for way in ways), economics.ways_out
    for named in economics.ways_out:
        if "nothing alone" not in named:
            assert names_of_paying(follow(options, named)) == [], named


def test_the_smallest_bond_is_the_boundary_of_the_whole_design():
    """Both bonds of that size: a wei less and the half-trainer pays again."""
    bond_wei = make_design(replace(SHARED_PAIR, miner_bond_wei=None)).economics.smallest_bond_wei
    assert 0 < bond_wei < ETHER // 2
    assert names_of_paying(replace(SHARED_PAIR, miner_bond_wei=bond_wei)) == []
    assert names_of_paying(replace(SHARED_PAIR, miner_bond_wei=bond_wei - 1)) == ["training on 0.5 of the rows"]


def test_what_is_over_the_promise_is_named_and_not_refused():
    """Nine tenths of the work for the whole reward: no test of replies shows it."""
    design = make_design(replace(KNOWING, training_wei=9 * ETHER // 10))
    assert design.refusals == ()
    assert design.economics.undeterred.name.startswith("training on 0.9")


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_can_be_designed_for(scheme):
    """Its own p0 and coverage; the planned null is no less than the verdict's, which knows how its draws are shared."""
    made = make_scheme(scheme)
    weights = "judged" if made.coverage_k else "none"
    test = make_design(replace(KNOWING, scheme=scheme, weights=weights, activation=0.99)).test
    n = test.power.thresholds.n
    bound = Verdict(test.power.thresholds, 0, (made.p0,) * n, made.probes_per_draw(n)).false_pay_bound
    if test.coverage is not None:
        bound *= test.coverage.pass_probability(0.0, 0.0)
    assert test.power.null_pay >= bound
    assert (test.coverage is not None) == (weights == "judged")


def test_a_small_dataset_bounds_the_number_of_probes():
    design = make_design(DesignOptions(rows=1_600, false_pay=1e-5))
    assert design.test.power.thresholds.n <= 32
    assert len(design.refusals) == 2, "both rates, as no test of 32 probes keeps them"


def test_the_papers_formula_stands_beside_the_measured_rule():
    """A cheat that takes half of the rows: by the paper it holds kPay of the marks never, measured it often passes."""
    design = make_design(replace(SHARED_PAIR, reward_wei=None, training_wei=None))
    half = next(point for point in design.curve if point.share == 0.5)
    assert half.marks_held < 1e-4 < 0.5 < half.paid


@given(
    st.builds(
        DesignOptions,
        rows=st.integers(300, 20_000),
        scheme=st.sampled_from(["canary", "backdoor"]),
        activation=st.floats(0.5, 1),
        partial=st.floats(0.05, 0.95),
        false_pay=st.floats(1e-6, 0.2),
        reward_wei=st.integers(1, 10 * ETHER),
        training_wei=st.integers(0, 10 * ETHER),
        is_lookup_accepted=st.booleans(),
    )
)
@settings(max_examples=15)
def test_a_design_is_legal_and_its_verdict_is_its_strategies(options):
    design = make_design(options)
    thresholds, economics = design.test.power.thresholds, design.economics
    assert compute_min_rows(thresholds.n) <= options.rows
    assert 2 * thresholds.n <= 3 * thresholds.k_pay <= 3 * thresholds.n
    assert 0 <= 8 * thresholds.k_slash <= thresholds.n
    assert 2 * economics.stakes.availability_bond_wei >= options.reward_wei
    honest = economics.honest.profit_wei(economics.stakes)
    better = [strategy for strategy in economics.strategies if strategy.profit_wei(economics.stakes) > honest]
    if not options.is_lookup_accepted:
        assert set(better) == set(economics.paying)
    assert bool(economics.paying) == bool(economics.ways_out)
    assert to_json(design)["is_sound"] == (not economics.paying and all(error.is_kept for error in design.error_rates))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 299}, "at least 300"),
        ({"rows": 2**24 + 1}, "at most 16777216 rows"),
        ({"rows": 1_600, "probes": 33}, "1600 rows are too few for 33 marks: at least 1650"),
        ({"probes": 65}, "16 to 64, not 65"),
        ({"probes": 32, "k_pay": 21}, "a kPay of 22 to 32, not 21"),
        ({"probes": 32, "k_slash": 5}, "a kSlash of 0 to 4, not 5"),
        ({"scheme": "watermark"}, "unknown scheme 'watermark'"),
        ({"scheme": "coverage"}, "coverage alone has no probes"),
        ({"scheme": "canary+coverage"}, "measured on returned weights"),
        ({"weights": "some"}, "unknown --weights 'some'"),
        ({"partial": 1.0}, "--partial is between 0 and 1, not 1"),
        ({"false_pay": 0.0}, "--false-pay is between 0 and 1, not 0"),
        ({"activation": float("nan")}, "--activation is 0 to 1, not nan"),
        ({"least_activation": 0.95}, "no more than --activation"),
        ({"base_rate": 0.6}, "lower --base-rate"),
        ({"training_wei": None}, "both --reward and --training-cost"),
        ({"availability_bond_wei": ETHER // 2 - 1}, "no availability bond under half"),
        ({"availability_bond_wei": 0}, "no availability bond under half"),
        ({"reward_wei": MAX_WEI + 1}, "an amount of a task is at most"),
        ({"selective": ((0.4, 0.5, 0.6),)}, "a point is 2 numbers"),
        ({"fewer_epochs": ((0.4, 1.5, 0.6),)}, "a point is 3 numbers of 0 to 1"),
    ],
)
def test_options_that_make_no_sense(changes, reason):
    with pytest.raises(BadInput, match=re.escape(reason)):
        choose_test(replace(REPLIES, **changes))


def test_a_calibration_answers_for_itself(tmp_path):
    """Rate, spread between runs and size of the reference, from the runs on all rows."""
    world, place = World(strength=0.7, tau=0.03), tmp_path / "reference.json"
    save_reference(world.reference(np.random.default_rng(3), runs=40, rows=2000), place)
    options = apply_reference(JUDGED, place)
    assert (options.candidates, options.reference_runs, options.reference_marks) == (8, 40, 1000)
    assert options.top_rank == pytest.approx(0.7, abs=0.015)
    assert options.run_spread == pytest.approx(0.03, abs=0.01)
    assert make_design(options).test.coverage.top_rank == options.top_rank


def test_points_are_read_as_they_are_written():
    assert parse_points("0.25:0.67:0.45,0.5:1:1") == ((0.25, 0.67, 0.45), (0.5, 1.0, 1.0))
    assert parse_points("") == ()
    with pytest.raises(BadInput, match="no list of points"):
        parse_points("a:b")
    assert parse_ether("0.000000002") == DesignOptions(rows=300).gas_price_wei
