"""The benches of single parts, at their smallest, and the tables that come of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.campaigns import cells
from benchmarks.evidence import measure_signatures, measure_tree
from benchmarks.part_tables import evidence_table, memory_text, probes_table, stages_table, tasks_text
from benchmarks.probing import measure_probes
from benchmarks.repeats import measure_rates
from benchmarks.science.costs import costs_section, costs_table
from benchmarks.stages import MILESTONES, START, measure_stages
from benchmarks.tasks import COMMITS, make_events, measure_journal, measure_rules, record_task
from tests import factories as f
from validator.edges.keys import derive_signer
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.protocol.state import Phase

MASTER_SEED = (7).to_bytes(32)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    identity = Identity(f.CHAIN_ID, f.CONTRACT, derive_signer(MASTER_SEED, "validator").address)
    return Journal(tmp_path / "journal.sqlite", derive_journal_key(MASTER_SEED), identity)


def test_works_take_turns_and_the_first_turn_does_not_count():
    turns = []

    def work(name: str) -> int:
        turns.append(name)
        return 1

    cell = measure_rates({"a": lambda: work("a"), "b": lambda: work("b")}, repeats=2)
    assert turns == ["a", "b"] * 3
    assert [len(per_s) for per_s in cell["rates"].values()] == [2, 2]


def test_a_measured_task_is_a_whole_one_that_leaves_nothing_to_do(journal):
    assert [record_task(journal, make_events(number)) for number in range(2)] == [COMMITS] * 2
    assert [state.phase for state in journal.replay().values()] == [Phase.CLOSED] * 2
    assert journal.unfinished_effects() == []
    journal.close()


def test_rules_and_journal_are_compared_with_bare_commits():
    cells = {"tasks/rules": measure_rules(1, repeats=1), "tasks/journal": measure_journal(1, repeats=1)}
    assert set(cells["tasks/journal"]["rates"]) == {"tasks", "bare"}
    assert "is 26 events" in (text := tasks_text(cells))
    assert "29 commits a task" in text
    assert tasks_text({"tasks/rules": cells["tasks/rules"]}) == ""


def test_evidence_is_measured_and_shown_by_the_size_of_the_tree():
    cells = {
        "evidence/tree/100": measure_tree(100, repeats=1),
        "evidence/signatures": measure_signatures(2, repeats=1),
    }
    cells["evidence/tree/10"] = cells["evidence/tree/100"]
    assert all(per_s > 0 for cell in cells.values() for [per_s] in cell["rates"].values())
    assert [line.split(" | ")[0] for line in evidence_table(cells).splitlines()[-2:]] == ["| 10", "| 100"]


def test_the_keccak_of_a_tree_is_its_share_of_bare_hashing():
    rates = {"hashed": [1.0], "in a tree": [50.0], "proofs": [1.0], "verified": [1.0], "keccak": [190.0]}
    signatures = {"rates": {name: [1.0] for name in ("signed", "signed, bare", "recovered", "recovered, bare")}}
    table = evidence_table({"evidence/tree/10": {"rates": rates}, "evidence/signatures": signatures})
    assert table.splitlines()[-1].endswith("| 50% |"), "19 hashes for 10 rows, 5 trees a second, of 190 hashes"


def test_every_probe_is_asked_of_another_process_and_every_signature_is_checked():
    figures = measure_probes(2, min_tasks=2, repeats=1)["probes"]
    assert (figures["miners"], figures["count"]) == (2, 2 * 16)
    assert 0 < figures["p50_ms"][0] <= figures["p99_ms"][0]
    assert figures["per_s"][0] > 0 < figures["bare_per_s"][0]
    cells = {"probes/2": {"probes": figures}, "probes/1": {"probes": figures | {"miners": 1}}}
    assert [line[:5] for line in probes_table(cells).splitlines()[-2:]] == ["| 1 |", "| 2 |"]


def test_the_stages_of_a_round_are_read_from_its_journal_and_add_up(journal, tmp_path):
    for number in range(2):
        record_task(journal, make_events(number))
    journal.close()
    report = {
        "seed": 7,
        "chain_id": f.CHAIN_ID,
        "contract": f.CONTRACT,
        "miners": [{"task_id": "0x" + make_events(number)[0].task_id.hex()} for number in range(2)],
        "seconds": {"chain": 1.0, "planting and miners": 2.0, "tasks": 3.0, "withdrawals": 0.5},
    }
    stages = measure_stages(tmp_path, report, wall_s=10.0)
    assert list(stages)[2:-2] == list(MILESTONES)[1:]
    assert sum(stages.values()) == pytest.approx(10.0)
    assert min(stages.values()) >= 0
    assert 5.0 < stages[START] < 6.5
    rows = stages_table([{"stages": stages}, {}]).splitlines()
    assert rows[0].startswith("**Where the seconds of `make demo` go**, 1 seeds")
    assert rows[4] == "| chain and contract | 1.00 (1.00 to 1.00) | 10.0% |"


def test_a_task_that_never_got_a_model_holds_up_no_stage(journal, tmp_path):
    record_task(journal, make_events(0))
    for event in make_events(1)[:3]:
        journal.record(event, [])
    lapsed = make_events(1)[-1]
    journal.record(replace(lapsed, outcome="miner_lapsed"), [])
    journal.close()
    tasks = [{"task_id": "0x" + make_events(number)[0].task_id.hex()} for number in range(2)]
    seconds = {"chain": 0.0, "planting and miners": 0.0, "tasks": 9.0, "withdrawals": 0.0}
    report = {"seed": 7, "chain_id": f.CHAIN_ID, "contract": f.CONTRACT, "miners": tasks, "seconds": seconds}
    assert min(measure_stages(tmp_path, report, wall_s=9.0).values()) >= 0


def test_memory_is_shown_at_its_most():
    daemon = {"memory": {"of": "daemon", "mib": {"0": [100.0, 101.0], "500": [150.0, 149.0]}}}
    planting = {"memory": {"of": "planting", "rows": 1_000, "mib": [600.0, 602.0], "seconds": [5.0, 6.0]}}
    text = memory_text({"memory/daemon": daemon, "memory/planting/1000": planting})
    assert "101, 150 MiB with 0, 500 tasks open" in text
    assert "601 (600 to 602) for 1,000 rows, in 5.5 (5.0 to 6.0) s" in text
    assert memory_text({"memory/daemon": daemon}) == ""


def make_training(cpu_s: float, tokens: int) -> dict[str, Any]:
    """The cell of an honest training, as far as its cost goes; it read a tenth of what it trained on for its probes."""
    size = {"rows": 300, "n": 16, "scheme": "canary", "method": "full", "model": "llama", "miner": "honest"}
    cost = {"training_s": cpu_s, "planting_s": 1.0, "probing_s": 2.0, "losses_s": cpu_s / 2}
    counted = {"probing": tokens // 20, "read_for_losses": tokens}
    return size | {"epochs": None, "trained_tokens": tokens, "tokens": counted, "cost": cost}


def test_the_cost_of_verification_is_a_share_of_each_tasks_own_training():
    proof = {"segments": [1, 2], "epochs": 8, "cost": {"verification_s": 6.0, "training_s": 20.0}}
    trainings = [make_training(10.0, 3_000), make_training(40.0, 6_000)]
    results = {
        "cells": {f"science/miners/{number}": cell for number, cell in enumerate(trainings)}
        | {"science/proof-of-learning/0": proof},
        "coverage": [],
    }
    assert costs_table(results).splitlines()[4:] == [
        "| training | 25.0 (10.0 to 40.0) | 100.0% | 100.0% |",
        "| planting | 1.0 | 6.2% (2.5% to 10.0%) | - |",
        "| probing (base and returned model) | 2.0 | 12.5% (5.0% to 20.0%) | 3.3% |",
        "| baseline: loss of all rows | 12.5 (5.0 to 20.0) | 50.0% | 33.3% |",
        "| baseline: re-execution of 2 of 8 epochs | 6.0 | 30.0% | 25.0% |",
    ]
    assert "| canary | baseline: loss of all rows | 12.50 | 50.0% | 4,500 | 33.3% | 2 |" in costs_section(results)
    assert costs_table({"cells": {}}) == ""


def test_no_two_cells_share_a_name_and_every_part_has_one():
    names = [name for name, _ in cells()]
    assert len(set(names)) == len(names)
    assert {"tasks", "evidence", "probes", "memory", "demo", "gas", "daemon"} <= {name.split("/")[0] for name in names}
