"""The options of `touchstone plan`: parse and hand over. SciPy is loaded inside the command."""

from pathlib import Path
from typing import Annotated

import typer

from validator.amounts import parse_ether
from validator.design.options import (
    CANARY,
    CANARY_AND_COVERAGE,
    NONE,
    DesignOptions,
    parse_optional_ether,
    parse_points,
)
from validator.terminal import interruptible

TEST, COVERAGE, MONEY = "What is tested, with which errors", "Coverage of returned weights", "Money, in ether"


def plan(
    rows: Annotated[int, typer.Option(help="Rows of the dataset.", rich_help_panel=TEST)],
    scheme: Annotated[
        str | None,
        typer.Option(
            help="canary (canary+coverage where weights are returned), backdoor, and variants.",
            rich_help_panel=TEST,
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Weights to be returned: none, delivered or judged.", rich_help_panel=TEST)
    ] = NONE,
    activation: Annotated[
        float, typer.Option(help="P(hit) of a mark that an honest miner trained on: measure it.", rich_help_panel=TEST)
    ] = 0.9,
    partial: Annotated[
        float,
        typer.Option(
            help="Share of the rows such that training on it, or on less, must not be paid.", rich_help_panel=TEST
        ),
    ] = 0.5,
    false_refuse: Annotated[
        float, typer.Option(help="P(an honest miner is not paid), at most.", rich_help_panel=TEST)
    ] = 0.01,
    false_pay: Annotated[
        float, typer.Option(help="P(a miner that trained on --partial is paid), at most.", rich_help_panel=TEST)
    ] = 0.01,
    false_slash: Annotated[
        float,
        typer.Option(help="P(an honest miner at --least-activation is slashed), at most.", rich_help_panel=TEST),
    ] = 1e-6,
    least_activation: Annotated[
        float | None,
        typer.Option(help="P(hit) of a mark that an unlucky honest miner has; half.", rich_help_panel=TEST),
    ] = None,
    base_rate: Annotated[
        float | None,
        typer.Option(help="P(hit) of a mark that was not trained on; the scheme's bound.", rich_help_panel=TEST),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="backdoor: share:P(learnt):relative activation,...; measured on a small model if absent.",
            rich_help_panel=TEST,
        ),
    ] = None,
    probes: Annotated[int | None, typer.Option(help="n, 16 to 64; chosen if absent.", rich_help_panel=TEST)] = None,
    k_pay: Annotated[int | None, typer.Option(help="Hits that pay; chosen if absent.", rich_help_panel=TEST)] = None,
    k_slash: Annotated[
        int | None, typer.Option(help="Hits that slash; chosen if absent.", rich_help_panel=TEST)
    ] = None,
    slashing: Annotated[
        bool | None,
        typer.Option("--slashing/--no-slashing", help="Where honest miners are safe, if absent.", rich_help_panel=TEST),
    ] = None,
    coverage_marks: Annotated[
        int | None, typer.Option(help="Rows with a coverage mark; all if absent.", rich_help_panel=COVERAGE)
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Candidates of a coverage mark; the scheme's.", rich_help_panel=COVERAGE)
    ] = None,
    top_rank: Annotated[
        float,
        typer.Option(help="P(rank 0) of a mark that an honest miner trained on; measured.", rich_help_panel=COVERAGE),
    ] = 0.85,
    run_spread: Annotated[
        float, typer.Option(help="Standard deviation of it between honest runs; measured.", rich_help_panel=COVERAGE)
    ] = 0.02,
    reference_runs: Annotated[int, typer.Option(help="Calibration runs at each share.", rich_help_panel=COVERAGE)] = 5,
    reference_marks: Annotated[
        int, typer.Option(help="Trained marks of each calibration run.", rich_help_panel=COVERAGE)
    ] = 1000,
    reference: Annotated[
        Path | None,
        typer.Option(help="Calibration of your spec, in place of the five before.", rich_help_panel=COVERAGE),
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(help="Share that the lower bound must reach; chosen if absent.", rich_help_panel=COVERAGE),
    ] = None,
    reward: Annotated[str | None, typer.Option(help="The task's reward.", rich_help_panel=MONEY)] = None,
    training_cost: Annotated[
        str | None, typer.Option(help="Cost of the whole training, to the miner.", rich_help_panel=MONEY)
    ] = None,
    fixed_cost: Annotated[
        float, typer.Option(help="Share of it that is spent however little is trained.", rich_help_panel=MONEY)
    ] = 0.0,
    inference_cost: Annotated[
        str, typer.Option(help="Cost of answering the probes with a model.", rich_help_panel=MONEY)
    ] = "0",
    lookup_cost: Annotated[
        str, typer.Option(help="Cost of answering them from the data.", rich_help_panel=MONEY)
    ] = "0",
    gas_price: Annotated[str, typer.Option(help="Of one gas, in ether.", rich_help_panel=MONEY)] = "0.000000002",
    miner_bond: Annotated[
        str | None, typer.Option(help="Burned by a slash; the reward if absent.", rich_help_panel=MONEY)
    ] = None,
    availability_bond: Annotated[
        str | None, typer.Option(help="Burned by silence; half of the reward if absent.", rich_help_panel=MONEY)
    ] = None,
    fewer_epochs: Annotated[
        str,
        typer.Option(help="Cheats: share of the training:activation:top rate,...", rich_help_panel=MONEY),
    ] = "",
    selective: Annotated[
        str,
        typer.Option(help="Cheats: share of the rows that look marked:share of the marks,...", rich_help_panel=MONEY),
    ] = "",
    accept_lookup: Annotated[
        bool,
        typer.Option("--accept-lookup", help="You know that replies can be looked up.", rich_help_panel=MONEY),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the design as JSON to this file, or to -.")
    ] = None,
) -> None:
    """Choose n, kPay and kSlash for error rates, and see whether honest training is what pays best.

    Exit status 0 if it is a sound design, 1 if a rate cannot be kept or a listed cheat pays, 2 for bad input.
    """
    options = DesignOptions(
        rows=rows,
        scheme=scheme or (CANARY if weights == NONE else CANARY_AND_COVERAGE),
        weights=weights,
        activation=activation,
        partial=partial,
        false_refuse=false_refuse,
        false_pay=false_pay,
        false_slash=false_slash,
        least_activation=activation / 2 if least_activation is None else least_activation,
        base_rate=base_rate,
        rule=None if rule is None else parse_points(rule),
        probes=probes,
        k_pay=k_pay,
        k_slash=k_slash,
        slashing=slashing,
        coverage_marks=coverage_marks,
        candidates=candidates,
        top_rank=top_rank,
        run_spread=run_spread,
        reference_runs=reference_runs,
        reference_marks=reference_marks,
        min_coverage=min_coverage,
        reward_wei=parse_optional_ether(reward),
        training_wei=parse_optional_ether(training_cost),
        fixed_cost=fixed_cost,
        inference_wei=parse_ether(inference_cost),
        lookup_wei=parse_ether(lookup_cost),
        gas_price_wei=parse_ether(gas_price),
        miner_bond_wei=parse_optional_ether(miner_bond),
        availability_bond_wei=parse_optional_ether(availability_bond),
        fewer_epochs=parse_points(fewer_epochs),
        selective=parse_points(selective),
        is_lookup_accepted=accept_lookup,
    )
    with interruptible():
        from validator.design.command import run_plan

        is_sound = run_plan(options, reference, json_file)
    raise typer.Exit(0 if is_sound else 1)
