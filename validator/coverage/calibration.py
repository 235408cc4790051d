"""Calibration: real training runs whose share is known, as the honest reference of a spec.

Each run marks rows anew, trains on all or on a random part of them as a miner would (`validator/training.py`), and
ranks the drawn words after every epoch. Importing this module loads torch.
"""

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from validator.coverage.likelihood import find_windows, log_likelihoods, subtract
from validator.coverage.ranks import rank_picks
from validator.coverage.reference import CalibrationRun, Reference
from validator.errors import BadInput
from validator.files import file_error, write_whole
from validator.language_model import load
from validator.marks.coverage import CoverageMark
from validator.plan.spec import TrainingSpec
from validator.protocol.commitment import Row
from validator.training import Recipe, TrainingRequest, train

RUNS = 5
"""At each share. Fewer make wide intervals: nearly all that they do not know is how runs differ."""
PARTIAL_SHARE = 0.5

MarkedRows = tuple[Sequence[Row], Sequence[CoverageMark]]


@dataclass(frozen=True)
class _RunFile:
    """What stands in the directory of a calibration, one file for each training run."""

    base_model: str
    spec: str
    data: str
    runs: tuple[CalibrationRun, ...]


def calibrate(
    model: str,
    spec: TrainingSpec,
    mark_rows: Callable[[int], MarkedRows],
    directory: Path,
    *,
    base_model: str,
    data: str,
    runs: int = RUNS,
    partial_share: float = PARTIAL_SHARE,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Reference:
    """The reference of a spec, from `runs` training runs at share 1 and as many at `partial_share`, one after another.

    `model` is where the base model lies, `base_model` what identifies it; `mark_rows` gives the rows of a seed with
    fresh marks in them, and `data` says what they are. Every finished run is a file in `directory`, and a calibration
    that was ended is taken up from there; `progress` gets the number of finished runs and of all. Raises `BadInput`
    where the directory holds runs of something else, or the runs allow no estimate.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = [(share, seed) for seed in range(runs) for share in (1.0, partial_share)]
    done: list[CalibrationRun] = []
    for number, (share, seed) in enumerate(wanted, start=1):
        path = directory / f"share-{share:g}-seed-{seed}.json"
        kept = _read_runs(path, (base_model, spec.to_json(), data))
        if kept is None:
            rows, marks = mark_rows(seed)
            kept = measure_run(model, spec, rows, marks, share=share, seed=seed)
            content = _RunFile(base_model, spec.to_json(), data, kept)
            write_whole(path, TypeAdapter(_RunFile).dump_json(content))
        done += kept
        progress(number, len(wanted))
    return Reference(base_model, spec.to_json(), data, spec.epochs, tuple(done))


def measure_run(
    model: str, spec: TrainingSpec, rows: Sequence[Row], marks: Sequence[CoverageMark], *, share: float, seed: int
) -> tuple[CalibrationRun, ...]:
    """Train on a random `share` of the rows and rank the marks: after the last epoch, and where all rows are trained
    on, after each.
    """
    recipe = Recipe(
        method=cast(Literal["full", "lora"], spec.method),
        epochs=spec.epochs,
        learning_rate=spec.learning_rate,
        batch_size=spec.batch_size,
        max_length=spec.max_length,
        seed=seed,
        rank=spec.rank,
    )
    chosen = set(random.Random(f"coverage share {seed}").sample(range(len(rows)), round(share * len(rows))))
    network, tokenizer = load(model)
    windows = find_windows(tokenizer, rows, marks, max_length=spec.max_length, prompt_limit=recipe.prompt_limit)
    before = log_likelihoods(network, windows)
    del network
    trained = [number for number, mark in enumerate(marks) if mark.row_index in chosen]
    others = [number for number, mark in enumerate(marks) if mark.row_index not in chosen]
    measured: list[CalibrationRun] = []

    def rank(epoch: int, trained_network: Any) -> None:
        if share < 1 and epoch < spec.epochs:
            return
        changes = subtract(log_likelihoods(trained_network, windows), before)
        ranks = rank_picks(changes, [len(mark.candidates) for mark in marks], [mark.pick for mark in marks], seed)
        of_trained, of_others = ranks.histogram_of(trained), ranks.histogram_of(others)
        measured.append(CalibrationRun(share, epoch, seed, of_trained, of_others, ranks.dropped))

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        taken = tuple(row for number, row in enumerate(rows) if number in chosen)
        train(TrainingRequest(model, taken, place / "model", place / "events.jsonl", recipe), rank)
    return tuple(measured)


def _read_runs(path: Path, of: tuple[str, str, str]) -> tuple[CalibrationRun, ...] | None:
    """What a calibration has left there; None if nothing."""
    try:
        content = TypeAdapter(_RunFile).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error("read", path, error) from error
    except ValidationError:
        raise BadInput(f"{path} is no calibration run: delete it to measure it again") from None
    if (content.base_model, content.spec, content.data) != of:
        raise BadInput(f"{path} is of another base model, spec or data: name another directory, or empty this one")
    return content.runs
