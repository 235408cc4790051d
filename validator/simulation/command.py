"""`touchstone simulate`, from checked options to exit status."""

import asyncio
import os
import time
from pathlib import Path

from prometheus_client import REGISTRY, write_to_textfile
from rich.console import Console

from validator.edges.datasets import choose_rows, load_rows
from validator.errors import BadInput
from validator.plan.terms import choose_thresholds
from validator.simulation.display import Display
from validator.simulation.options import (
    DEFAULT_ROWS,
    EMBEDDED_MODEL,
    EMBEDDED_MODEL_NAME,
    SimulationOptions,
    TrainingSpec,
    default_rows,
    parse_miners,
)
from validator.simulation.run import simulate
from validator.telemetry import log_to_file

MAX_SEED = 2**31


def run_command(
    *,
    miners: str,
    scheme: str,
    data: Path | None,
    rows: int | None,
    base_model: str | None,
    probes: int,
    epochs: int,
    learning_rate: float,
    slashing: bool,
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
    if workers < 1:
        raise BadInput(f"the number of training processes is at least 1, not {workers}")
    if not 0 <= port < 2**16:
        raise BadInput(f"a port is 0 to 65535, not {port}")
    plans = parse_miners(miners)
    if data is None:
        chosen, data_name = default_rows(rows or DEFAULT_ROWS, seed), "generated rows"
    else:
        chosen, data_name = choose_rows(load_rows(data), rows, seed), data.name
    model, model_name = _find_model(base_model)
    if json_file is not None:
        _check_writable(json_file)
    options = SimulationOptions(
        miners=plans,
        scheme=scheme,
        rows=tuple(chosen),
        data_name=data_name,
        model=model,
        spec=TrainingSpec(base_model=model_name, epochs=epochs, learning_rate=learning_rate),
        thresholds=choose_thresholds(probes, slashing=slashing),
        seed=seed,
        chain=chain,
        first_port=port,
        training_workers=workers,
        funder_key_file=funder_key_file,
        directory=_make_directory(directory, seed),
        is_keeping_models=keep_models,
    )
    display = Display(console, [plan.name for plan in plans], is_quiet=quiet)
    with log_to_file(options.directory / "log.jsonl"), display:
        report = asyncio.run(simulate(options, display))
        write_to_textfile(str(options.directory / "metrics.prom"), REGISTRY)
    if not quiet:
        report.print_table(console)
        console.print(f"Journal and logs: {options.directory}", highlight=False, soft_wrap=True)
    if json_file is not None:
        try:
            report.write_json(json_file)
        except OSError as error:
            raise BadInput(f"cannot write {json_file}: {error.strerror}") from error
    return report.is_as_expected


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


def _check_writable(path: Path) -> None:
    """Find out before the run, not after it, that the results could not be written."""
    try:
        with path.open("a"):
            pass
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error
