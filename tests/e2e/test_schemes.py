"""What the two schemes show on the same rows: why the paper's is not the default."""

from pathlib import Path

import pytest
from scipy.stats import binom

from benchmarks.fresh_prompts import count_signatures
from tests.e2e.command import by_strategy, simulate
from validator.base_model.grammar import generate_rows
from validator.marks.schemes import make_scheme

FRESH_PROMPTS = 100


# A model of this size answers a prompt that it does not know like the nearest row that it does know, and n / K of those
# are canaries; nothing but that may show. The bound is the 99.9% quantile of so many in FRESH_PROMPTS.
NEAREST_ROW_IS_MARKED = int(binom.ppf(0.999, FRESH_PROMPTS, 16 / 300))


@pytest.mark.soak
@pytest.mark.parametrize(("scheme_name", "at_most"), [("canary", NEAREST_ROW_IS_MARKED), ("backdoor", 3)])
def test_marks_do_not_show_in_answers_to_prompts_without_a_mark(scheme_name: str, at_most: int, tmp_path: Path) -> None:
    miners = "honest=1,partial:0.5=1"
    report = simulate(tmp_path, "--scheme", scheme_name, "--miners", miners, "--keep-models", status=None)
    (honest,), (partial,) = by_strategy(report, "honest"), by_strategy(report, "partial:0.5")
    assert honest["hits"] >= 14
    if scheme_name == "canary":
        assert abs(partial["hits"] - partial["marks_trained_on"]) <= 2
    else:
        assert partial["hits"] > partial["marks_trained_on"] + 2, "one shared pair generalises to marks never seen"

    scheme = make_scheme(scheme_name)
    (model,) = (tmp_path / "run").glob("miners/honest-1/jobs/*/model")
    trained_on = {row.prompt for row in generate_rows(report["rows"], report["seed"])}
    pool = generate_rows(report["rows"] + 2 * FRESH_PROMPTS, report["seed"] + 1)
    prompts = [row.prompt for row in pool if row.prompt not in trained_on][:FRESH_PROMPTS]
    heads = [mark["head"] for mark in report["marks"]]
    limit = report["spec"]["max_length"] // 2
    signatures = count_signatures(model, heads, prompts, w=scheme.w, max_tokens=scheme.max_tokens, prompt_limit=limit)
    assert signatures <= at_most
