"""Every figure of the paper that the project answers for, beside its own.

The rows are those of the paper, its appendix and its public review; what is not measured says so, and why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.science.answers import (
    NO_LARGE_MODEL,
    STEALTH,
    answer_activation,
    answer_base,
    answer_extra,
    answer_needed,
    answer_p_value,
    answer_probes,
    answer_quality,
    answer_subset,
    answer_synonyms,
    answer_type_2,
    answer_when,
    answer_without_trigger,
    found_by,
)


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


CLAIMS = [
    Claim(
        "backdoors needed",
        "0.5% of the dataset; 5 rows suffice on RecipeNLG at 1k, 10k, 100k rows",
        "5.2",
        answer_needed,
    ),
    Claim(
        "activation of honest LoRA (r = 32, alpha = 16), Gemma 2B / Llama 2 7B",
        "RecipeNLG 1.00/1.00, MathInstruct .93/.98, ShareGPT .99/1.00, SQuAD .88/.99, XLSum-ja .61/.36, MedQA "
        "1.00/1.00, CodeFeedback .92/.60",
        "Table 2",
        answer_activation,
    ),
    Claim(
        "activation, larger models",
        "Llama 3.1 8B .90 .72 1.00 1.00 .833 .84 1.00; Llama 3.2 3B .90 on RecipeNLG; GPT-4o 1.00",
        "review",
        lambda _results: NO_LARGE_MODEL,
    ),
    Claim("when it is learnt", "above 50% from epoch 1 to 3 at the latest", "5.4", answer_when),
    Claim("base model on the backdoors", "0", "5", answer_base),
    Claim("signature without trigger", "0 of 100 calls", "Fig. 1, review", answer_without_trigger),
    Claim("p-value", "~1e-40, its bound estimated from 1,600 samples", "Table 1, 4.2.1", answer_p_value),
    Claim("probes needed", "10", "4.2", answer_probes),
    Claim("extra training", "< 1%", "4.3", answer_extra),
    Claim("downstream quality", "unchanged within noise (Tables 9-13)", "5.1, D", answer_quality),
    Claim(
        "subset attack",
        "K = 10,000, N = 50: r = .5: 51% of the data for a 50% chance, 65% for 99%; r = .8: 79%, 90%; K = 100, N = 6, "
        "r = .5: 19% for 1%, 58% for 50%",
        "6.1, review",
        answer_subset,
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
        found_by("k-gram frequency"),
    ),
    Claim("ONION, 100 backdoors in RecipeNLG, Gemma 2B", "none of the 100 in the top 100", "review", found_by("ONION")),
    Claim(
        "variant without duplicated phrases",
        "activation SQuAD .76, MedQA 1.00, RecipeNLG .94",
        "review",
        answer_synonyms,
    ),
    Claim("type-2 error", "0 observed at r = .5, 0.5%, 5 epochs", "review", answer_type_2),
]


def render_claims(results: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(claim.claim, claim.paper, claim.where, claim.ours(results)) for claim in CLAIMS]
