"""`touchstone simulate`, from checked options to exit status."""

import asyncio
import os
import sys
import time
from pathlib import Path

from prometheus_client import REGISTRY, write_to_textfile
from rich.console import Console
from rich.table import Table

from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.config import MIN_COVERAGE_BPS
from validator.coverage.references import References
from validator.edges.datasets import choose_rows, load_rows
from validator.errors import BadInput, TouchstoneError
from validator.files import check_writable
from validator.logs import log_to_file
from validator.marks.planting import check_learnable
from validator.marks.schemes import make_scheme
from validator.plan.terms import choose_scheme, choose_thresholds, parse_weights
from validator.protocol.state import Weights
from validator.simulation.display import Display
from validator.simulation.options import (
    DEFAULT_ROWS,
    SimulationOptions,
    default_rows,
)
from validator.simulation.report import SimulationReport
from validator.simulation.run import simulate
from validator.simulation.scenario import Scenario, library

MAX_WORKERS = 64


def run_command(
    scenario: Scenario,
    *,
    funder_key_file: Path | None = None,
    port: int = 0,
    workers: int = 2,
    directory: Path | None = None,
    keep_models: bool = False,
    json_file: Path | None = None,
    quiet: bool = False,
) -> bool:
    """Whether every honest miner was paid and no other was. BadInput before anything is started, where that can be."""
    console = Console()
    if not 1 <= workers <= MAX_WORKERS:
        raise BadInput(f"the number of training processes is 1 to {MAX_WORKERS}, not {workers}")
    plans, seed = scenario.miners, scenario.seed
    if not 0 <= port <= 2**16 - len(plans):
        raise BadInput(f"the first of {len(plans)} ports is 0 to {2**16 - len(plans)}, not {port}")
    if scenario.data is None:
        chosen, data_name = default_rows(scenario.rows or DEFAULT_ROWS, seed), "generated rows"
    else:
        chosen, data_name = choose_rows(load_rows(scenario.data), scenario.rows, seed), scenario.data.name
    thresholds = choose_thresholds(scenario.probes, slashing=scenario.slashing)
    returned = parse_weights(scenario.weights)
    scheme = scenario.scheme or choose_scheme(returned)
    check_learnable(chosen, make_scheme(scheme), thresholds.n)
    model, model_name = _find_model(scenario.base_model)
    spec = scenario.spec.of_model(model_name)
    is_judged = returned is Weights.JUDGED and make_scheme(scheme).coverage_k and References().find(spec.to_json())
    if json_file is not None:
        check_writable(json_file)
    options = SimulationOptions(
        miners=plans,
        strategies=tuple(scenario.strategies),
        scheme=scheme,
        rows=tuple(chosen),
        data_name=data_name,
        model=model,
        spec=spec,
        thresholds=thresholds,
        weights=returned,
        min_coverage_bps=MIN_COVERAGE_BPS if is_judged else 0,
        seed=seed,
        chain=scenario.chain,
        first_port=port,
        training_workers=workers,
        funder_key_file=funder_key_file,
        directory=_make_directory(directory, seed),
        is_keeping_models=keep_models,
        **scenario.faults.model_dump(),
    )
    place = f"journal and logs: {options.directory}"
    try:
        report = _run(options, Display(console, [plan.name for plan in plans], is_quiet=quiet))
    except TouchstoneError as error:
        error.add_note(place)
        raise
    except KeyboardInterrupt:
        print(place, file=sys.stderr)
        raise
    if json_file is not None:
        try:
            report.write_json(json_file)
        except BadInput as error:
            error.add_note(place)
            raise
    if not quiet:
        report.print_table(console)
        console.print(place, highlight=False, soft_wrap=True)
    return report.is_as_expected


def list_scenarios() -> None:
    """The library, on the terminal."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    for name, scenario in library().items():
        table.add_row(name, scenario.about)
    Console().print(table, highlight=False)


def _run(options: SimulationOptions, display: Display) -> SimulationReport:
    try:
        with log_to_file(options.directory / "log.jsonl"), display:
            report = asyncio.run(simulate(options, display))
        write_to_textfile(str(options.directory / "metrics.prom"), REGISTRY)
    except OSError as error:
        raise BadInput(f"cannot use {error.filename or options.directory}: {error.strerror}") from error
    return report


def _find_model(base_model: str | None) -> tuple[str, str]:
    """The model's directory or hub id, and its name on the wire."""
    if base_model is None:
        return EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
    path = Path(base_model)
    if not path.exists():
        return base_model, base_model
    if not (path / "config.json").is_file() or not list(path.glob("*.safetensors")):
        raise BadInput(f"{base_model} is no model directory: it needs config.json and weights in *.safetensors")
    return str(path.resolve()), path.resolve().name


def _make_directory(directory: Path | None, seed: int) -> Path:
    if directory is None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        directory = state / "touchstone" / "simulations" / f"{stamp}-seed{seed}-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot create {directory}: {error.strerror}") from error
    if (directory / "journal.sqlite").exists():
        raise BadInput(f"{directory} holds another simulation's journal: name a new directory")
    return directory
