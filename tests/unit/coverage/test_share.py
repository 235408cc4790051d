"""The trained share: right in the mean, intervals that cover, on simulated runs that differ as real ones do."""

import numpy as np
import pytest
from scipy.stats import binom

from tests.unit.coverage.simulated import K, World, ranks_of_a_learnt_row, whole
from validator.coverage.reference import CalibrationRun, Reference
from validator.coverage.share import ShareModel, clip, view_epochs
from validator.errors import BadInput

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
WORLDS = {
    "runs alike": World(tau=0.0),
    "runs differ": World(),
    "runs differ much": World(tau=0.05),
    "little is learnt": World(strength=0.4, gain=0.03),
}


def simulate(world: World, share: float, times: int, seed: int, rows: int = 1000):
    """Estimates, each with a reference of its own."""
    dice = np.random.default_rng(seed)
    for _ in range(times):
        model = ShareModel(world.reference(dice))
        yield model.estimate(whole(world.run(share, rows, dice)))


def check(world: World, times: int, seed: int) -> None:
    covered = bounded = 0
    for share in SHARES:
        estimates = list(simulate(world, share, times, seed))
        errors = [estimate.share - share for estimate in estimates]
        assert abs(np.mean(errors)) < 0.004 + 4 * np.std(errors) / times**0.5
        covered += sum(estimate.low <= share <= estimate.high for estimate in estimates)
        bounded += sum(estimate.lower_bound <= share for estimate in estimates)
    total = times * len(SHARES)
    for count in (covered, bounded):
        assert count >= binom.ppf(0.001, total, 0.94)


@pytest.mark.parametrize("name", WORLDS)
def test_estimates_are_right_and_intervals_cover(name):
    check(WORLDS[name], 8, 1)


@pytest.mark.soak
@pytest.mark.parametrize("name", WORLDS)
def test_estimates_are_right_and_intervals_cover_many_times(name):
    check(WORLDS[name], 500, 2)


def test_honest_miners_are_above_the_default_bound_and_three_quarters_are_not():
    """Protocol, "Returned weights": 8,000 basis points, with rows learnt about as real ones are."""
    world = World(strength=0.75, tau=0.005, gain=0.2)
    honest, partial = (sum(e.low_bps >= 8_000 for e in simulate(world, share, 40, 13)) for share in (1.0, 0.75))
    assert honest >= 39
    assert partial == 0


def test_an_interval_carries_rows_runs_and_the_references_own_size():
    dice = np.random.default_rng(3)
    steady, unsteady = (World(tau=tau).reference(dice) for tau in (0.0, 0.06))

    def width(reference: Reference, rows: int) -> float:
        learnt = np.round(rows * (0.5 * ranks_of_a_learnt_row(0.83) + 0.5 / K)).astype(int)
        estimate = ShareModel(reference).estimate(tuple(learnt.tolist()))
        return estimate.high - estimate.low

    assert width(steady, 250) > 1.5 * width(steady, 1000) > 1.5 * width(steady, 10_000)
    assert width(unsteady, 10_000) > 2 * width(steady, 10_000)
    many = World(tau=0.06).reference(dice, runs=50)
    assert width(unsteady, 10_000) > 1.1 * width(many, 10_000)


def test_a_model_that_saw_nothing_has_a_share_of_none():
    dice = np.random.default_rng(4)
    model = ShareModel(World().reference(dice))
    estimate = model.estimate((125,) * K)
    assert estimate.share == pytest.approx(0.0, abs=1e-9)
    assert estimate.low < 0 < estimate.high < 0.06
    assert estimate.low_bps == 0


def test_what_is_better_than_honest_is_reported_as_all_and_kept_as_it_is():
    model = ShareModel(World(tau=0.0).reference(np.random.default_rng(5)))
    estimate = model.estimate((1000, *[0] * (K - 1)))
    assert estimate.share > 1.1
    assert estimate.low_bps == 10_000
    assert str(estimate).startswith("100.0% of the rows (100.0% to 100.0%; at least 100.0%)")


def test_the_lower_bound_is_one_sided_and_rounded_down():
    estimate = ShareModel(World().reference(np.random.default_rng(6))).estimate(
        whole(World().run(0.75, 1000, np.random.default_rng(7)))
    )
    assert estimate.low < estimate.lower_bound < estimate.share < estimate.high
    assert estimate.low_bps == int(10_000 * estimate.lower_bound)


def test_weights_are_centred_under_the_null_and_one_honest_row_counts_one():
    reference = World().reference(np.random.default_rng(8), runs=3)
    model = ShareModel(reference)
    assert model.weights.sum() == pytest.approx(0.0, abs=1e-12)
    assert model.trained_score(1.0) == pytest.approx(1.0, abs=0.01)
    assert model.trained_score(0.5) > model.trained_score(1.0)
    assert model.trained_score(0.0) == pytest.approx(2 * model.trained_score(0.5) - model.trained_score(1.0))


def test_a_row_is_told_by_its_rank():
    model = ShareModel(World().reference(np.random.default_rng(9)))
    posterior = model.posterior(0.5)
    assert posterior[0] > 0.8 > 0.5 > posterior[1]
    assert list(posterior) == sorted(posterior, reverse=True)
    mixture = model.mixture(0.5)
    assert float(mixture @ np.array(posterior)) == pytest.approx(0.5)
    assert model.posterior(0.0) == (0.0,) * K


@pytest.mark.parametrize("epochs", [1, 2])
def test_fewer_epochs_are_told_from_fewer_rows(epochs):
    """Where a row that was seen less often has another rank distribution, and not just fewer rows the same one."""
    dice = np.random.default_rng(10)
    world = World(tau=0.0)
    runs = [*world.reference(dice).at(1.0), *world.reference(dice).at(0.5)]
    flat = {1: np.linspace(2, 0.5, K), 2: np.linspace(4, 0.5, K)}
    for number, weights in flat.items():
        counts = np.round(1000 * weights / weights.sum()).astype(int)
        runs.append(CalibrationRun(1.0, number, 0, tuple(counts.tolist()), (0,) * K, 0))
    reference = Reference("base", "{}", "simulated", 3, tuple(runs))
    model = ShareModel(reference)
    lazy = view_epochs(model, reference, reference.at(1.0, epochs)[0].trained)
    assert max(lazy.epochs, key=lambda number: lazy.epochs[number]) == epochs
    assert lazy.epochs[epochs] > lazy.log10_likelihood_of_share + 2
    partial = view_epochs(model, reference, whole(world.run(0.5, 1000, dice)))
    assert partial.log10_likelihood_of_share > max(partial.epochs.values()) + 2
    assert partial.share == pytest.approx(0.5, abs=0.06)


def test_a_histogram_that_does_not_fit_is_refused():
    model = ShareModel(World().reference(np.random.default_rng(11)))
    with pytest.raises(BadInput, match="4 candidates and a reference of 8"):
        model.estimate((10, 10, 10, 10))
    with pytest.raises(BadInput, match="at least 2 scored rows"):
        model.estimate((1, *[0] * (K - 1)))


def test_a_reference_that_learnt_no_better_from_more_rows_is_refused():
    dice = np.random.default_rng(12)
    whole_runs = [World(strength=0.3, gain=0).run(1.0, 1000, dice) for _ in range(2)]
    partial_runs = [World(strength=0.9, gain=0).run(0.5, 1000, dice) for _ in range(2)]
    with pytest.raises(BadInput, match="no share can be told"):
        ShareModel(Reference("base", "{}", "simulated", 3, (*whole_runs, *partial_runs)))


@pytest.mark.parametrize(("share", "clipped"), [(-0.2, 0.0), (0.4, 0.4), (1.3, 1.0)])
def test_shares_are_clipped_for_reports_only(share, clipped):
    assert clip(share) == clipped
