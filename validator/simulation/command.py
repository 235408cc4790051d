"""`touchstone simulate`, from checked options to exit status."""

import asyncio
import os
import sys
import time
from pathlib import Path

from prometheus_client import REGISTRY, write_to_textfile
from rich.console import Console

from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.config import MIN_COVERAGE_BPS
from validator.coverage.references import References
from validator.edges.datasets import choose_rows, load_rows
from validator.errors import BadInput, TouchstoneError
from validator.files import check_writable
from validator.logs import log_to_file
from validator.marks.planting import check_learnable
from validator.marks.schemes import make_scheme
from validator.plan.spec import TrainingSpec
from validator.plan.terms import choose_scheme, choose_thresholds, parse_weights
from validator.protocol.state import Weights
from validator.simulation.display import Display
from validator.simulation.options import (
    DEFAULT_ROWS,
    SimulationOptions,
    default_rows,
    parse_miners,
)
from validator.simulation.report import SimulationReport
from validator.simulation.run import simulate

MAX_SEED = 2**31
MAX_WORKERS = 64
CHAINS = ("embedded", "anvil")


def run_command(
    *,
    miners: str,
    scheme: str | None,
    data: Path | None,
    rows: int | None,
    base_model: str | None,
    probes: int,
    epochs: int,
    learning_rate: float,
    slashing: bool,
    weights: str,
    seed: int,
    chain: str,
    funder_key_file: Path | None,
    port: int,
    workers: int,
    directory: Path | None,
    keep_models: bool,
    json_file: Path | None,
    quiet: bool,
) -> bool:
    """Whether every honest miner was paid and no other was. BadInput before anything is started, where that can be."""
    console = Console()
    if not 0 <= seed < MAX_SEED:
        raise BadInput(f"the seed is 0 to {MAX_SEED - 1}, not {seed}")
    if rows is not None and rows < 1:
        raise BadInput(f"the number of rows is at least 1, not {rows}")
    if not 1 <= workers <= MAX_WORKERS:
        raise BadInput(f"the number of training processes is 1 to {MAX_WORKERS}, not {workers}")
    plans = parse_miners(miners)
    if not 0 <= port <= 2**16 - len(plans):
        raise BadInput(f"the first of {len(plans)} ports is 0 to {2**16 - len(plans)}, not {port}")
    if chain not in CHAINS and "://" not in chain:
        raise BadInput(f"unknown chain {chain!r}: it is {', '.join(CHAINS)}, or the URL of a node")
    if data is None:
        chosen, data_name = default_rows(rows or DEFAULT_ROWS, seed), "generated rows"
    else:
        chosen, data_name = choose_rows(load_rows(data), rows, seed), data.name
    thresholds, returned = choose_thresholds(probes, slashing=slashing), parse_weights(weights)
    scheme = scheme or choose_scheme(returned)
    check_learnable(chosen, make_scheme(scheme), thresholds.n)
    model, model_name = _find_model(base_model)
    spec = TrainingSpec(base_model=model_name, epochs=epochs, learning_rate=learning_rate)
    is_judged = returned is Weights.JUDGED and make_scheme(scheme).coverage_k and References().find(spec.to_json())
    if json_file is not None:
        check_writable(json_file)
    options = SimulationOptions(
        miners=plans,
        scheme=scheme,
        rows=tuple(chosen),
        data_name=data_name,
        model=model,
        spec=spec,
        thresholds=thresholds,
        weights=returned,
        min_coverage_bps=MIN_COVERAGE_BPS if is_judged else 0,
        seed=seed,
        chain=chain,
        first_port=port,
        training_workers=workers,
        funder_key_file=funder_key_file,
        directory=_make_directory(directory, seed),
        is_keeping_models=keep_models,
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
