"""The test that options ask for: scheme, coverage, thresholds."""

from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import mean, variance

from validator.coverage.reference import load_reference
from validator.design.options import BACKDOOR, NONE, DesignOptions
from validator.errors import BadInput
from validator.marks.planting import compute_min_rows
from validator.marks.schemes import Scheme, make_scheme
from validator.plan.choice import Targets, choose_coverage, choose_probes
from validator.plan.coverage_power import CoverageTest
from validator.plan.power import MEASURED_RULE, Effort, HitModel, IndependentMarks, Power, RulePoint, SharedRule
from validator.plan.terms import MAX_PROBES, MIN_PROBES


@dataclass(frozen=True, slots=True)
class ChosenTest:
    """A test and what it is to be judged by. `coverage` is measured; `power` has it too where it is demanded."""

    targets: Targets
    honest: Effort
    power: Power
    coverage: CoverageTest | None


def choose_test(options: DesignOptions) -> ChosenTest:
    """BadInput for a dataset that is too small, and for thresholds that the contract does not take."""
    targets = Targets(
        options.false_refuse, options.false_pay, options.false_slash, options.partial, options.least_activation
    )
    honest = Effort(1.0, 1.0, options.activation, options.top_rank)
    scheme, counts = _scheme(options), possible_counts(options)
    hit_model, coverage = _hit_model(options, scheme), None
    if scheme.coverage_k:
        coverage = CoverageTest(
            marks=options.rows - counts[-1] if options.coverage_marks is None else options.coverage_marks,
            candidates=scheme.coverage_k if options.candidates is None else options.candidates,
            top_rank=options.top_rank,
            run_spread=options.run_spread,
            reference_runs=options.reference_runs,
            reference_marks=options.reference_marks,
            min_coverage=options.min_coverage or 0.0,
        )
        if options.min_coverage is None:
            coverage = choose_coverage(coverage, honest, targets)
    demanded = coverage if options.are_weights_judged else None
    thresholds = choose_probes(
        hit_model,
        honest,
        targets,
        counts=counts,
        are_weights_judged=options.are_weights_judged,
        coverage=demanded,
        slashing=options.slashing,
        k_pay=options.k_pay,
        k_slash=options.k_slash,
    )
    return ChosenTest(targets, honest, Power(hit_model, thresholds, options.are_weights_judged, demanded), coverage)


def possible_counts(options: DesignOptions) -> list[int]:
    """Numbers of probes that the contract takes, that the rows are enough for, and that the options leave."""
    possible = [n for n in range(MIN_PROBES, MAX_PROBES + 1) if compute_min_rows(n) <= options.rows]
    if not possible:
        raise BadInput(f"{options.rows} rows are too few for a test: at least {compute_min_rows(MIN_PROBES)}")
    if options.probes is None:
        return possible
    if MIN_PROBES <= options.probes <= MAX_PROBES and options.probes not in possible:
        raise BadInput(
            f"{options.rows} rows are too few for {options.probes} marks: at least {compute_min_rows(options.probes)}"
        )
    return [options.probes]


def _scheme(options: DesignOptions) -> Scheme:
    if options.scheme == "coverage":
        raise BadInput("coverage alone has no probes, and terms need 16: design for canary+coverage")
    scheme = make_scheme(options.scheme)
    if scheme.coverage_k and options.weights == NONE:
        raise BadInput("coverage is measured on returned weights: add --weights judged, or delivered")
    return scheme


def _hit_model(options: DesignOptions, scheme: Scheme) -> HitModel:
    base_rate = scheme.p0 if options.base_rate is None else options.base_rate
    if not scheme.name.startswith(BACKDOOR):
        if base_rate > options.least_activation:
            raise BadInput("an honest miner hits more often than one that did not train: lower --base-rate")
        return IndependentMarks(options.rows, base_rate)
    points = MEASURED_RULE if options.rule is None else tuple(RulePoint(*point) for point in options.rule)
    draws = MAX_PROBES // scheme.probes_per_draw(MAX_PROBES)
    # Synonyms give every row a draw of its own, and still one rule to learn.
    return SharedRule(base_rate, points, groups=1 if draws == MAX_PROBES else draws)


def apply_reference(options: DesignOptions, path: Path) -> DesignOptions:
    """With what calibration runs answer in place of assumptions, from the file that `save_reference` wrote.

    The variance between runs is the sample variance of their rates, less what their marks alone explain.
    """
    reference = load_reference(path)
    runs = reference.at(1.0)
    marks = min(sum(run.trained) for run in reference.runs)
    rates = [run.trained[0] / sum(run.trained) for run in runs]
    within = sum(rate * (1 - rate) / sum(run.trained) for rate, run in zip(rates, runs, strict=True)) / len(runs)
    return replace(
        options,
        candidates=reference.k,
        top_rank=mean(rates),
        run_spread=sqrt(max(0.0, variance(rates) - within)),
        reference_runs=len(runs),
        reference_marks=marks,
    )
