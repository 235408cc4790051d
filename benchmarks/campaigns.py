"""What is measured: named cells, so that a campaign can be stopped and resumed; each runs the command, or calls."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import audit, daemon, evidence, gas, memory, probing, tasks, tournament
from benchmarks.fresh_prompts import count_signatures
from benchmarks.measure import run_round
from validator.base_model.grammar import generate_rows, is_held_out
from validator.edges.datasets import load_rows
from validator.marks.schemes import make_scheme
from validator.protocol.commitment import Row

Cell = Callable[[], dict[str, Any]]

DEMO_SEEDS = range(10)
REAL_SEEDS = range(5)
COMPARISON_SEEDS = range(3)
SIZES = (1_000, 10_000, 100_000)
SETTLED_N, SETTLED_K = (16, 32, 64), SIZES
FRESH_TRAINED_ROWS, FRESH_PROMPTS = 300, 400
FRESH_POOL, FRESH_SEED = 700, 11
UNSEEN_FILES = ("sgd_dialogue", "squad_question_generation", "gpteacher_roleplay")
"""Files of which the embedded model saw nothing; of gsm8k_train, only the held-out rows are used."""

HONEST_AND_PARTIAL = "honest=1,partial:0.75=1,partial:0.5=1,partial:0.25=1"
HONEST_AND_CHEATS = "honest=2,base=1,noise=1"


def cells() -> Iterator[tuple[str, Cell]]:
    """Every cell with its name, the shortest answers to the biggest questions first."""
    yield from _gas_cells()
    yield from _part_cells()
    for seed in DEMO_SEEDS:
        yield f"demo/{seed}", partial(run_round, "--seed", str(seed))
    data = os.environ.get("TOUCHSTONE_DATA")
    if data:
        yield from _real_data_cells(Path(data))
    for scheme in ("canary", "backdoor"):
        for seed in COMPARISON_SEEDS:
            yield (
                f"schemes/{scheme}/{seed}",
                partial(run_round, "--scheme", scheme, "--miners", HONEST_AND_PARTIAL, "--seed", str(seed)),
            )
        yield f"fresh/{scheme}", partial(_fresh, scheme, generate_rows(FRESH_POOL, FRESH_SEED))
    yield from _daemon_cells()
    yield "tournament/processes", tournament.measure_processes
    yield "audit/onchain", audit.measure_onchain
    yield "chain/anvil", partial(run_round, "--chain", "anvil", "--miners", "honest=1,base=1")


def _gas_cells() -> Iterator[tuple[str, Cell]]:
    yield "gas/erc20", gas.measure_erc20_transfer
    yield "gas/deployment", gas.measure_deployment
    yield "gas/calls", gas.measure_calls
    for n in (16, 64):
        for k in (1_000, 100_000):
            yield f"gas/task/{n}/{k}", partial(gas.measure_task, n, k)
    for n in SETTLED_N:
        for k in SETTLED_K:
            yield f"gas/settle/{n}/{k}", partial(gas.measure_settlement, n, k)


def _part_cells() -> Iterator[tuple[str, Cell]]:
    yield "tasks/rules", tasks.measure_rules
    yield "tasks/journal", tasks.measure_journal
    yield "evidence/signatures", evidence.measure_signatures
    for k in SIZES:
        yield f"evidence/tree/{k}", partial(evidence.measure_tree, k)
    for miners in probing.MINERS:
        yield f"probes/{miners}", partial(probing.measure_probes, miners)
    for rows in memory.PLANTED_ROWS:
        yield f"memory/planting/{rows}", partial(memory.measure_planting, rows)


def _daemon_cells() -> Iterator[tuple[str, Cell]]:
    for chain in daemon.CHAINS:
        yield f"daemon/{chain}", partial(daemon.measure_throughput, chain)
    yield "daemon/restarts", daemon.measure_restarts
    yield "memory/daemon", memory.measure_daemon


def _real_data_cells(data: Path) -> Iterator[tuple[str, Cell]]:
    gsm8k = data / "gsm8k_train.jsonl"
    for seed in REAL_SEEDS:
        yield f"gsm8k/300/{seed}", partial(_held_out, gsm8k, "--rows", "300", "--seed", str(seed))
    yield "gsm8k/1000/0", partial(_held_out, gsm8k, "--rows", "1000")
    yield "fresh/canary on gsm8k", partial(_fresh, "canary", _read_held_out(gsm8k))
    for name in UNSEEN_FILES:
        path = str(data / f"{name}.jsonl")
        yield f"{name}/300/0", partial(run_round, "--data", path, "--rows", "300", "--miners", HONEST_AND_CHEATS)


def _held_out(path: Path, *arguments: str) -> dict[str, Any]:
    """A round on the rows of a file that the embedded model was not trained on."""
    with tempfile.TemporaryDirectory() as scratch:
        unseen = _write_rows(Path(scratch) / path.name, _read_held_out(path))
        return run_round("--data", unseen, "--miners", HONEST_AND_CHEATS, *arguments)


def _read_held_out(path: Path) -> list[Row]:
    return [row for row in load_rows(path) if is_held_out(row.prompt)]


def _write_rows(path: Path, rows: Sequence[Row]) -> str:
    lines = (json.dumps({"prompt": row.prompt, "response": row.response}) for row in rows)
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


def _fresh(scheme_name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Planted openings in the answers of an honestly trained model to prompts that it never saw.

    The first `rows` are trained on, the last are asked.
    """
    scheme = make_scheme(scheme_name)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "run"
        data = _write_rows(Path(scratch) / "rows.jsonl", rows[:FRESH_TRAINED_ROWS])
        report = run_round("--scheme", scheme_name, "--miners", "honest=1", "--data", data, "--keep-models", home=home)
        (model,) = home.glob("miners/*/jobs/*/model")
        prompts = [row.prompt for row in rows[-FRESH_PROMPTS:]]
        heads = [mark["head"] for mark in report["marks"]]
        limit = report["spec"]["max_length"] // 2
        count = count_signatures(model, heads, prompts, w=scheme.w, max_tokens=scheme.max_tokens, prompt_limit=limit)
    return report | {"fresh_prompts": len(prompts), "fresh_signatures": count}
