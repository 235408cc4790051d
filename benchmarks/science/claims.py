"""Every figure of the paper that the project answers for, beside its own.

The rows are those of the paper, its appendix and its public review; what is not measured says so, and why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.science.campaign import ACTIVATION_MARKS, LARGE_ROWS, SHARE_ROWS, SUBSET_DATA
from benchmarks.science.figures import (
    NOT_MEASURED,
    activation,
    is_paid,
    miners,
    passing,
    percent,
    power_of_ten,
    proportion,
)
from benchmarks.science.stealth import read_rankings, worse_end
from validator.plan.subset import Convention, marks_needed, share_for_chance

NO_LARGE_MODEL = "not measured: it takes a model and a processor that the campaign does not have"
STEALTH = "[Stealth](#stealth)"


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of the page: what the paper says, where, and what `ours` finds in the results."""

    claim: str
    paper: str
    where: str
    ours: Callable[[dict[str, Any]], str]


PAPER_ACTIVATION = {
    "RecipeNLG": "1.00 / 1.00 / .90",
    "MathInstruct": ".93 / .98 / .72",
    "ShareGPT": ".99 / 1.00 / 1.00",
    "SQuAD": ".88 / .99 / 1.00",
    "XLSum-Japanese": ".61 / .36 / .833",
    "MedQA": "1.00 / 1.00 / .84",
    "CodeFeedback": ".92 / .60 / 1.00",
}
"""Honest LoRA (r = 32, alpha = 16): Gemma 2B / Llama 2 7B (Table 2) / Llama 3.1 8B (review)."""


def _needed(results: dict[str, Any]) -> str:
    parts = []
    for rows in (SHARE_ROWS, LARGE_ROWS):
        for scheme in ("backdoor", "canary"):
            cells = [
                cell
                for epochs in {
                    cell["epochs"] for cell in results["cells"].values() if "epochs" in cell and "hits" in cell
                }
                for cell in miners(results, rows=rows, scheme=scheme, miner="honest", epochs=epochs)
            ]
            by_marks: dict[int, list[dict[str, Any]]] = {}
            for cell in cells:
                by_marks.setdefault(cell["n"], []).append(cell)
            few = [
                f"{percent(marks / rows, 1)} ({marks}): {passing(by_marks[marks])} paid" for marks in sorted(by_marks)
            ]
            if few:
                parts.append(f"{scheme}, K = {rows:,}: {'; '.join(few)}")
    return ". ".join(parts) or NOT_MEASURED


def _activation(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        for method in ("full", "lora"):
            cells = miners(results, scheme=scheme, miner="honest", method=method, n=ACTIVATION_MARKS)
            if cells:
                names = {cell["data"] for cell in cells}
                parts.append(f"{scheme}, {method}: {activation(cells)} trainings paid, over {len(names)} datasets")
    return "; ".join(parts) + ". By dataset: [Activation](#activation)" if parts else NOT_MEASURED


def _when(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        firsts = [
            first
            for cell in miners(results, scheme=scheme, miner="honest", method="full", n=ACTIVATION_MARKS)
            if (first := first_half(cell)) is not None
        ]
        if firsts:
            total = miners(results, scheme=scheme, miner="honest", method="full")[0]["recipe"]["epochs"]
            parts.append(
                f"{scheme}: over half of the probes after epoch {min(firsts)} to {max(firsts)} of {total} "
                f"({len(firsts)} trainings that get there)"
            )
    return "; ".join(parts) or NOT_MEASURED


def first_half(cell: dict[str, Any]) -> int | None:
    """The first epoch after which more than half of the probes hit."""
    return next((epoch for epoch, hits in enumerate(cell["hits_by_epoch"], 1) if hits > cell["n"] / 2), None)


def _base(results: dict[str, Any]) -> str:
    tasks = {
        (cell["data"], cell["rows"], cell["n"], cell["scheme"], cell["seed"], cell["model"]): cell
        for cell in miners(results)
    }
    if not tasks:
        return NOT_MEASURED
    hits, probes = (sum(cell[key] for cell in tasks.values()) for key in ("base_hits", "n"))
    return f"{proportion(hits, probes)} probes, {len(tasks)} tasks"


def _without_trigger(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        cells = miners(results, scheme=scheme, miner="honest")
        if cells:
            planted, asked = (sum(cell["fresh"][key] for cell in cells) for key in ("planted", "asked"))
            parts.append(f"{scheme}: {proportion(planted, asked)} fresh prompts, {len(cells)} trainings")
    return "; ".join(parts) or NOT_MEASURED


def _p_value(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        cells = [cell for cell in miners(results, scheme=scheme, miner="honest", n=ACTIVATION_MARKS) if is_paid(cell)]
        if cells:
            worst, best = max(cells, key=lambda cell: cell["p_value"]), min(cells, key=lambda cell: cell["p_value"])
            parts.append(
                f"{scheme}: {power_of_ten(best['p_value'])} to {power_of_ten(worst['p_value'])} over {len(cells)} paid "
                f"trainings, exact"
                + (
                    f"; counted as the paper does, {power_of_ten(best['binomial_tail'])}, but its probes are one event"
                    if scheme == "backdoor"
                    else ""
                )
            )
    return ". ".join(parts) or NOT_MEASURED


def _probes(_results: dict[str, Any]) -> str:
    return (
        "16, of which 12 must hit; with 10 probes and 10% of them, as printed, a miner that trains on 10% of the rows "
        "passes with probability 0.65 and is no cheat that anybody notices"
    )


def _extra(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        shares = [
            cell["tokens"]["marked"] / cell["tokens"]["unmarked"] - 1
            for cell in miners(results, scheme=scheme, miner="honest", n=ACTIVATION_MARKS)
        ]
        if shares:
            low, high = min(shares), max(shares)
            parts.append(f"{scheme}: {percent(low)} to {percent(high)} more tokens ({len(shares)} tasks)")
    if not parts:
        return NOT_MEASURED
    return "; ".join(parts) + f"; 16 marks in 300 rows are {percent(16 / 300, 1)}, over ten times the paper's share"


def _quality(_results: dict[str, Any]) -> str:
    return "held-out loss, paired: [Quality](#quality)"


PAPER_SUBSETS = [
    (10_000, 50, 0.5, (0.5, 0.99)),
    (10_000, 50, 0.8, (0.5, 0.99)),
    (100, 6, 0.5, (0.01, 0.5)),
]


def _subset(_results: dict[str, Any]) -> str:
    parts = []
    for rows, marks, ratio, chances in PAPER_SUBSETS:
        shares = []
        for chance in chances:
            both = []
            for convention in Convention:
                share = share_for_chance(rows, marks, marks_needed(marks, ratio, convention), chance)
                both.append("-" if share is None else percent(share, 0))
            shares.append(f"{' or '.join(both)} for {percent(chance, 0)}")
        parts.append(f"K = {rows:,}, N = {marks}, r = {ratio}: {', '.join(shares)}")
    return (
        f"by the formula, with >= or with >: {'; '.join(parts)}. The paper mixes the two. Measured: "
        "[Subset attack](#subset-attack)"
    )


def _type_2(results: dict[str, Any]) -> str:
    parts = []
    for scheme in ("backdoor", "canary"):
        cells = miners(results, scheme=scheme, miner="partial:0.5", data=SUBSET_DATA)
        if cells:
            parts.append(f"{scheme}: half-trained miners paid {passing(cells)}")
        honest = miners(results, scheme=scheme, miner="honest", method="full", n=ACTIVATION_MARKS)
        if honest:
            parts.append(f"honest ones not paid {proportion(sum(not is_paid(cell) for cell in honest), len(honest))}")
    return "; ".join(parts) or NOT_MEASURED


def _found_by(prefix: str) -> Callable[[dict[str, Any]], str]:
    """What the best of the detectors whose names begin so finds of each scheme."""

    def ours(results: dict[str, Any]) -> str:
        parts = []
        for scheme, of_scheme in read_rankings(results["stealth"]).items():
            found = [worse_end(name, ranks) for name, ranks in of_scheme.items() if name.startswith(prefix)]
            if found:
                best = max(found, key=lambda one: one.recall)
                low, high = best.recall_interval
                parts.append(
                    f"{scheme}: recall at 2n {best.recall:.2f} [{low:.2f}, {high:.2f}], chance {best.chance:.2f}; "
                    f"half of the marks in {percent(best.kept_for_half, 0)} of the data ({best.tasks} tasks)"
                )
        return ". ".join(parts) + f". All detectors: {STEALTH}" if parts else NOT_MEASURED

    return ours


def _synonyms(results: dict[str, Any]) -> str:
    names = {cell["scheme"] for cell in miners(results)} - {"backdoor", "canary"}
    parts = [
        f"{name}: {activation(miners(results, scheme=name, miner='honest', n=ACTIVATION_MARKS))} trainings paid"
        for name in sorted(names)
    ]
    return "; ".join(parts) or NOT_MEASURED


CLAIMS = [
    Claim("backdoors needed", "0.5% of the dataset; 5 rows suffice on RecipeNLG at 1k, 10k, 100k rows", "5.2", _needed),
    Claim(
        "activation of honest LoRA (r = 32, alpha = 16), Gemma 2B / Llama 2 7B",
        "RecipeNLG 1.00/1.00, MathInstruct .93/.98, ShareGPT .99/1.00, SQuAD .88/.99, XLSum-ja .61/.36, MedQA "
        "1.00/1.00, CodeFeedback .92/.60",
        "Table 2",
        _activation,
    ),
    Claim(
        "activation, larger models",
        "Llama 3.1 8B .90 .72 1.00 1.00 .833 .84 1.00; Llama 3.2 3B .90 on RecipeNLG; GPT-4o 1.00",
        "review",
        lambda _results: NO_LARGE_MODEL,
    ),
    Claim("when it is learnt", "above 50% from epoch 1 to 3 at the latest", "5.4", _when),
    Claim("base model on the backdoors", "0", "5", _base),
    Claim("signature without trigger", "0 of 100 calls", "Fig. 1, review", _without_trigger),
    Claim("p-value", "~1e-40, its bound estimated from 1,600 samples", "Table 1, 4.2.1", _p_value),
    Claim("probes needed", "10", "4.2", _probes),
    Claim("extra training", "< 1%", "4.3", _extra),
    Claim("downstream quality", "unchanged within noise (Tables 9-13)", "5.1, D", _quality),
    Claim(
        "subset attack",
        "K = 10,000, N = 50: r = .5: 51% of the data for a 50% chance, 65% for 99%; r = .8: 79%, 90%; K = 100, N = 6, "
        "r = .5: 19% for 1%, 58% for 50%",
        "6.1, review",
        _subset,
    ),
    Claim(
        "detection by a language model",
        "not at 0.5% or 5%; at 10% on MathInstruct and small sets",
        "6.2, review",
        lambda _results: f"not measured: it takes a model that judges text; a small one's likelihoods: {STEALTH}",
    ),
    Claim(
        "frequency search for k-grams",
        "a large part of the data must be kept (Table 6)",
        "6.3",
        _found_by("k-gram frequency"),
    ),
    Claim(
        "ONION, 100 backdoors in RecipeNLG, Gemma 2B", "none of the 100 in the top 100", "review", _found_by("ONION")
    ),
    Claim("variant without duplicated phrases", "activation SQuAD .76, MedQA 1.00, RecipeNLG .94", "review", _synonyms),
    Claim("type-2 error", "0 observed at r = .5, 0.5%, 5 epochs", "review", _type_2),
]


def render_claims(results: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(claim.claim, claim.paper, claim.where, claim.ours(results)) for claim in CLAIMS]
