"""The published tournament (benchmarks/cheats.py): its rounds as lines, and the page that they make."""

import json
from pathlib import Path
from typing import Any

from benchmarks.cheats import FIGURE, PAGE, ROUNDS, draw_figure, fill_store, keep_rounds, render_page
from benchmarks.science.plots import save_plot
from tests.unit.tournament.samples import a_round, miner, played
from validator.tournament.rounds import Played
from validator.tournament.statistics import compute_statistics
from validator.tournament.store import Store, read_store

ROOT = Path(__file__).parents[3]


def told(*miners: dict[str, Any]) -> Played:
    """As a simulation tells it, with what the lines leave out."""
    more = {"weights_hits": None, "marks_trained_on": 16, "address": "0x00", "gas": {"settle": 1}}
    ended = played(*(one | more for one in miners))
    ended.report.update(scheme="canary", data="generated rows", rows=300, seed=0, spec={}, marks=[{"head": "a head"}])
    return ended


def test_lines_hold_all_that_the_page_needs_and_go_from_store_to_store(tmp_path):
    first, second, lines = tmp_path / "first.sqlite", tmp_path / "second.sqlite", tmp_path / "rounds.jsonl"
    with Store.writing(first) as store:
        for seed in range(3):
            lookup = miner("lookup", cost={"cpu_s": 1.0, "flops": 1e12})
            store.add_done(
                a_round("honest", "lookup", "base", seed=seed), told(miner("honest"), lookup, miner("base", "slashed"))
            )
        store.add_failed(a_round("honest", seed=9), "it fell over")
    keep_rounds(first, lines)
    keep_rounds(first, lines)
    assert len(lines.read_text().splitlines()) == 3
    assert "a head" not in lines.read_text()
    fill_store(second, lines)
    fill_store(second, lines)
    page = render_page(*read_store(second))
    assert page == render_page(*read_store(first))
    assert " 3 rounds, in which" in page
    assert "| canary | 3 of 3 | 2 | **1** | lookup: +0.99 [" in page
    assert "| **lookup** | 3 | 3 [0.29, 1.00] | 0 | 16.0 of 16 | 1.0 | +0.99 [" in page
    assert "| base | 3 | 0 [0.00, 0.71] | 3 |" in page


def test_the_page_shows_the_stored_rounds(tmp_path):
    """No round may be lost or doubled."""
    keys = [json.dumps(json.loads(line)["round"], sort_keys=True) for line in _lines()]
    assert len(set(keys)) == len(keys)
    if keys:
        fill_store(tmp_path / "all.sqlite")
        rounds, results = read_store(tmp_path / "all.sqlite")
        assert (ROOT / PAGE).read_text() == render_page(rounds, results)
        save_plot(draw_figure(compute_statistics(results)), tmp_path / FIGURE.name)
        assert (tmp_path / FIGURE.name).read_bytes() == (ROOT / FIGURE).read_bytes()


def _lines() -> list[str]:
    return ROUNDS.read_text().splitlines() if ROUNDS.exists() else []
