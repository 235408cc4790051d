"""The campaign of docs/results.md: cells that really train, cells that are shared out, and the page that they make."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.ledger import Ledger
from benchmarks.science.campaign import SEEDS, settings
from benchmarks.science.claims import CLAIMS
from benchmarks.science.losses import response_losses
from benchmarks.science.miner import measure_miner
from benchmarks.science.page import SCHEME_PAGES, read_results, render_figures, render_page, with_figures
from benchmarks.science.plots import draw_plots, save_plot
from benchmarks.science.proof_of_learning import measure_proof_of_learning
from benchmarks.science.setting import Setting
from benchmarks.science.task import prepare
from validator.base_model import EMBEDDED_MODEL
from validator.base_model.grammar import generate_rows
from validator.edges.generator import LocalScorer
from validator.language_model import load

ROOT = Path(__file__).parents[2]
TINY = Setting("generated", 16, 4, "canary", "honest", seed=0, epochs=30, held_out=8)
NOTHING = {"cells": {}, "stealth": {}, "coverage": [], "exactness": []}
EVERY_ROW_OF_THE_PAPER = [
    "backdoors needed",
    "activation of honest LoRA",
    "activation, larger models",
    "when it is learnt",
    "base model on the backdoors",
    "signature without trigger",
    "p-value",
    "probes needed",
    "extra training",
    "downstream quality",
    "subset attack",
    "detection by a language model",
    "frequency search for k-grams",
    "ONION",
    "variant without duplicated phrases",
    "type-2 error",
]


@pytest.fixture(scope="module")
def honest():
    return measure_miner(TINY)


def test_an_honest_cell_says_how_the_marks_were_learnt_and_what_it_cost(honest):
    assert honest["hits"] == honest["hits_by_epoch"][-1] == honest["n"] == honest["marks_seen"] == 4
    assert len(honest["hits_by_epoch"]) == 30
    assert max(honest["hits_by_epoch"][0], honest["base_hits"]) <= 1
    assert honest["p0"] == 2**-4
    assert honest["p_value"] == pytest.approx(2**-16)
    assert honest["loss_change"] < -0.5
    assert "16 rows are too few" in honest["refusal"]
    assert honest["tokens"]["marked"] == pytest.approx(honest["tokens"]["unmarked"], rel=0.1)
    assert all(seconds > 0 for seconds in honest["cost"].values())


def test_the_words_of_the_rows_stay_out_of_a_cell(honest):
    task, stored = prepare(TINY, LocalScorer(EMBEDDED_MODEL)), json.dumps(honest)
    texts = [text for row in task.rows + task.planted for text in (row.prompt, row.response)]
    assert not any(text[start : start + 20] in stored for text in texts for start in range(0, len(text) - 20, 5))


@pytest.mark.parametrize(
    ("miner", "rows", "seen"),
    [("partial:0.5", 8, range(5)), ("unmarked", 16, [0]), ("other", 16, [0]), ("base", 0, [0])],
)
def test_a_cell_of_another_miner_has_the_same_task_and_other_rows(honest, miner, rows, seen):
    cell = measure_miner(replace(TINY, miner=miner, epochs=1))
    assert cell["trained_rows"] == rows
    assert cell["marks_seen"] in seen
    assert cell["tokens"]["marked"] == honest["tokens"]["marked"]
    assert cell["held_out_base_loss"] == honest["held_out_base_loss"]
    assert cell["hits"] < 4


def test_answers_of_one_word_are_refused_and_the_reason_is_kept(tmp_path, monkeypatch):
    rows = [{"prompt": f"question {i}", "response": f"answer{i}"} for i in range(300)]
    (tmp_path / "jaquad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("TOUCHSTONE_DATA", str(tmp_path))
    assert "one-word answers" in measure_miner(Setting("jaquad", 300, 16, "canary", "honest", 0))["refused"]


def test_re_execution_reproduces_an_honest_run_and_no_other():
    cell = measure_proof_of_learning(replace(TINY, epochs=2))
    distances = {name: prover["distances"] for name, prover in cell["provers"].items()}
    assert distances.pop("honest") == [0.0, 0.0]
    assert min(map(min, distances.values())) > 0.5
    assert distances["untrained"] == [1.0, 1.0]
    assert cell["cost"]["checkpoint_bytes"] > 2 * cell["cost"]["model_bytes"] > 10_000_000


def test_the_loss_of_a_row_does_not_depend_on_the_batch():
    network, tokenizer = load(EMBEDDED_MODEL)
    rows = generate_rows(5, seed=1)
    together, tokens = response_losses(network, tokenizer, rows, 64)
    alone = [response_losses(network, tokenizer, [row], 64) for row in rows]
    assert together == pytest.approx([losses[0] for losses, _ in alone], abs=1e-5)
    assert tokens == sum(read for _, read in alone)


def test_a_cell_is_measured_by_one_process_only_and_stored_beside_the_others(tmp_path):
    ledger = Ledger(tmp_path / "results.json", tmp_path / "locks")
    program = (
        "import sys; from pathlib import Path; from benchmarks.ledger import Ledger\n"
        "ledger = Ledger(*map(Path, sys.argv[1:]))\n"
        "for name in ('a/b', 'c'):\n"
        "    with ledger.claim(name) as is_ours:\n"
        "        if is_ours: ledger.store(name, {'by': 'another'})\n"
    )
    with ledger.claim("a/b") as is_ours:
        assert is_ours
        paths = [str(tmp_path / "results.json"), str(tmp_path / "locks")]
        subprocess.run([sys.executable, "-c", program, *paths], check=True, cwd=ROOT)
        ledger.store("a/b", {"by": "us"})
    assert ledger.read()["cells"] == {"c": {"by": "another"}, "a/b": {"by": "us"}}
    with ledger.claim("a/b") as is_ours:
        assert is_ours


def test_no_two_settings_share_a_name():
    names = [setting.name for seed in SEEDS for setting in dict.fromkeys(settings(seed))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("claim", EVERY_ROW_OF_THE_PAPER)
def test_every_figure_of_the_paper_has_a_row(claim):
    rows = [line for line in render_page(NOTHING).splitlines() if line.startswith(f"| {claim}")]
    assert len(rows) == 1
    assert len(CLAIMS) == len(EVERY_ROW_OF_THE_PAPER)


def test_a_measured_cell_is_on_the_page(honest):
    cell = honest | {"rows": 300, "n": 16, "hits": 16, "epochs": None, "hits_by_epoch": [0, 8, 9, 16]}
    name = "science/miners/generated/300x16/canary/full/llama/honest/0"
    page = render_page(NOTHING | {"cells": {name: cell}})
    assert "| generated | (none: the project's own grammar) |  |  | 1.00; 1 of 1 [0.03, 1.00] |" in page
    assert "| canary | 1 | 3.0 | .00 .50 .56 1.00 |" in page


def test_cells_of_one_task_with_different_marks_are_told(honest):
    names = [f"science/miners/{miner}" for miner in ("honest", "partial:0.5")]
    cells = [honest | {"epochs": None, "miner": miner} for miner in ("honest", "partial:0.5")]
    same = NOTHING | {"cells": dict(zip(names, cells, strict=True))}
    assert "To be measured again" not in render_page(same)
    cells[1]["digest"] = "that of another version"
    assert "cells of generated/16x4/canary/llama/0." in render_page(same)


def test_the_page_and_its_plots_show_the_stored_cells(tmp_path):
    results = read_results()
    assert (ROOT / "docs" / "results.md").read_text() == render_page(results)
    for name in SCHEME_PAGES:
        scheme_page = (ROOT / "docs" / "schemes" / f"{name}.md").read_text()
        assert scheme_page == with_figures(scheme_page, render_figures(results, name)), name
    plots = draw_plots(results)
    assert {path.stem for path in (ROOT / "docs" / "figures").glob("*.svg")} == plots.keys()
    for name, figure in plots.items():
        save_plot(figure, tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_bytes() == (ROOT / "docs" / "figures" / f"{name}.svg").read_bytes()
