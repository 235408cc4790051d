"""A design for people: the terms, the errors by name, the power curve, the strategies; and the same as JSON."""

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from validator.amounts import WEI_DIGITS, describe_ether
from validator.design.design import Design
from validator.design.options import BACKDOOR
from validator.design.weighing import Economics
from validator.plan.economics import Strategy
from validator.plan.terms import compute_availability_bond, compute_fee

_BAR = 20
_FIXED, _SHOWN = 5, 6
"""The first strategies are always printed, with those that the options name, and so many of the partial trainers."""


def print_design(console: Console, design: Design) -> None:
    options, thresholds, coverage = design.options, design.test.power.thresholds, design.test.coverage
    slash = f"slash at {thresholds.k_slash} or fewer" if thresholds.slashing else "no slashing"
    console.print(
        f"{options.scheme}, {options.rows} rows, weights {options.weights}: "
        f"n {thresholds.n}, kPay {thresholds.k_pay}, kSlash {thresholds.k_slash} ({slash})"
    )
    if coverage is not None:
        demand = "demanded" if options.are_weights_judged else "reported, not demanded"
        counts = f"rank 0 of {coverage.candidates} in {coverage.top_needed} of {coverage.marks} marks"
        reference = f"honest rate {coverage.top_rank:g}, {coverage.run_spread:g} between runs"
        console.print(f"coverage of {coverage.min_coverage:.2f} {demand}: {counts}; {reference}")
    _print_errors(console, design)
    _print_curve(console, design)
    _print_subsets(console, design)
    if design.economics is not None:
        _print_economics(console, design, design.economics)
    elif not options.are_weights_judged:
        console.print("A miner that looks replies up instead of training is paid by this test: no replies show it.")
    for refusal in design.refusals:
        console.print(f"refused: {refusal}", style="red")
    for way_out in design.economics.ways_out if design.economics else ():
        console.print(f"  way out: {way_out}")


def _print_errors(console: Console, design: Design) -> None:
    table = _table("Error rates", "event", "given that the model was", "probability", "asked for")
    for error in design.error_rates:
        asked = "-" if error.at_most is None else f"{error.at_most:.3g}"
        style = None if error.is_kept else "red"
        table.add_row(error.event, error.given, _rate(error.probability, design.is_modelled), asked, style=style)
    console.print(table)


def _print_curve(console: Console, design: Design) -> None:
    """The paper's column counts marked rows held; that a rule is learnt from some of them is the difference."""
    is_backdoor = design.options.scheme.startswith(BACKDOOR)
    headings = ["trained share", "P(paid)", "", "P(slash zone)"]
    headings += ["P(bound)"] if design.test.coverage is not None else []
    headings += ["paper: P(B >= kPay)"] if is_backdoor else []
    table = _table("Power", *headings)
    for point in design.curve:
        paid, bar = _rate(point.paid, design.is_modelled), "█" * round(_BAR * point.paid)
        cells = [f"{point.share:g}", paid, bar, f"{point.slash_zone:.3g}"]
        cells += [_rate(point.bound, True)] if point.bound is not None else []
        cells += [f"{point.marks_held:.3g}"] if is_backdoor else []
        table.add_row(*cells)
    console.print(table)


def _print_subsets(console: Console, design: Design) -> None:
    table = _table(
        "Share of the rows for a chance to pass", "chance", "paper, B >= kPay", "paper, B > kPay", "paid by this test"
    )
    for row in design.subset:
        shares = [row.at_least, row.more_than, row.paid]
        table.add_row(f"{row.chance:g}", *("none" if share is None else f"{share:.3f}" for share in shares))
    console.print(table)


def _print_economics(console: Console, design: Design, economics: Economics) -> None:
    stakes, is_lookup_accepted = economics.stakes, design.options.is_lookup_accepted
    console.print(f"reward {describe_ether(stakes.reward_wei)}, fee {describe_ether(compute_fee(stakes.reward_wei))}")
    console.print(f"miner bond {describe_ether(stakes.miner_bond_wei)}")
    console.print(f"availability bond {describe_ether(stakes.availability_bond_wei)}")
    table = _table("Expected profit of a miner", "strategy", "P(paid)", "P(loses a bond)", "cost, ETH", "profit, ETH")
    paying = set(economics.paying)
    named = len(design.options.fewer_epochs) + len(design.options.selective)
    always = _FIXED + named * (2 if design.options.are_weights_judged else 1)
    others = economics.strategies[always:]
    shown = sorted(others, key=lambda strategy: (strategy in paying, strategy.odds.paid), reverse=True)[:_SHOWN]
    for strategy in (*economics.strategies[:always], *shown):
        style = "red" if strategy in paying else "green" if strategy is economics.honest else None
        is_known = is_lookup_accepted and strategy.is_looking_up
        table.add_row(
            strategy.name + (" (acknowledged)" if is_known else ""),
            _rate(strategy.odds.paid, design.is_modelled) if strategy.odds.paid else "0",
            f"{strategy.odds.slash_zone + strategy.lapses:.3g}",
            _ether(strategy.cost_wei),
            _ether(int(strategy.profit_wei(stakes))),
            style=style,
        )
    console.print(table)
    if len(shown) < len(others):
        console.print(f"and {len(others) - len(shown)} that are paid less often, which --json lists")
    bond = economics.smallest_bond_wei
    if bond is None:
        console.print("smallest bond: none deters every listed cheat")
    else:
        availability = max(bond, compute_availability_bond(stakes.reward_wei))
        console.print(f"smallest miner bond {describe_ether(bond)}")
        console.print(f"smallest availability bond {describe_ether(availability)}, at least half of the reward")
    if is_lookup_accepted:
        looked_up = [strategy for strategy in economics.strategies if strategy.is_looking_up]
        chosen = max(looked_up, key=lambda strategy: strategy.profit_wei(stakes))
        if (gain_wei := economics.gain_wei(chosen)) > 0:
            gain = describe_ether(gain_wei)
            console.print(f"acknowledged: {chosen.name}, gains {gain} over honest training, and no reply shows it")
    if economics.undeterred is not None:
        console.print(_describe_undeterred(economics, economics.undeterred))


def _describe_undeterred(economics: Economics, strategy: Strategy) -> str:
    return (
        f"not deterred: {strategy.name} is paid with {strategy.odds.paid:.3g} and gains "
        f"{describe_ether(economics.gain_wei(strategy))} over honest training (--partial says which share must not pay)"
    )


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(heading, min_width=None if heading else _BAR)
    return table


def _rate(probability: float, is_modelled: bool) -> str:
    """Modelled: it rests on a normal law between runs, whose tails nobody has measured."""
    return "<1e-9" if is_modelled and probability < 1e-9 else f"{probability:.3g}"


def _ether(amount_wei: int) -> str:
    return f"{amount_wei / 10**WEI_DIGITS:.4g}"


def to_json(design: Design) -> dict[str, Any]:
    """Rates and shares as probabilities, amounts in wei, None where there is none."""
    options, test, economics = design.options, design.test, design.economics
    return {
        "inputs": asdict(options),
        "terms": asdict(test.power.thresholds)
        | {
            "scheme": options.scheme,
            "weights": options.weights,
            "min_coverage_bps": 0 if test.power.coverage is None else round(10_000 * test.power.coverage.min_coverage),
        },
        "coverage": None if test.coverage is None else asdict(test.coverage) | {"top_needed": test.coverage.top_needed},
        "error_rates": [asdict(error) | {"is_kept": error.is_kept} for error in design.error_rates],
        "power": [asdict(point) for point in design.curve],
        "subset": [asdict(row) for row in design.subset],
        "economics": None if economics is None else _economics_json(economics),
        "refusals": list(design.refusals),
        "is_sound": not design.refusals,
    }


def _economics_json(economics: Economics) -> dict[str, Any]:
    def describe(strategy: Strategy) -> dict[str, Any]:
        profit_wei = int(strategy.profit_wei(economics.stakes))
        return asdict(strategy) | {"profit_wei": profit_wei, "is_paying": strategy in economics.paying}

    return {
        "stakes": asdict(economics.stakes),
        "costs": asdict(economics.costs),
        "strategies": [describe(strategy) for strategy in economics.strategies],
        "smallest_bond_wei": economics.smallest_bond_wei,
        "undeterred": None if economics.undeterred is None else describe(economics.undeterred),
        "ways_out": list(economics.ways_out),
    }
