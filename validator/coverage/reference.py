"""The honest reference of one (base model, spec): how well rows are learnt that a miner did train on.

The null distribution needs no reference, the trained share does: how often the drawn word comes out on top after honest
training depends on base model, method, epochs and rate, so it is measured, by calibration runs (`calibration.py`).

Rule kept: a reference is its content. Its id is the SHA-256 of its canonical JSON, so a verdict that names the id names
every run that it rests on.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from validator.coverage.ranks import Histogram
from validator.errors import BadInput
from validator.files import file_error, write_whole

MIN_RUNS = 2
"""At each calibrated share: one run says nothing of how runs differ."""
MAX_COUNT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """One training run whose share is known; a rank histogram of the rows trained on, and one of all others."""

    share: float
    """Of the rows that were trained on, in (0, 1]."""
    epochs: int
    seed: int
    trained: Histogram
    others: Histogram
    """Uniform but for chance, whatever the training: kept so that this can be checked."""
    dropped: int
    """Marks that the training window cuts off."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Calibration runs of one base model and spec.

    `base_model` identifies its weights, `spec` is the JSON of the training spec, `data` says what the rows were.
    Raises `BadInput` where the runs do not allow an estimate.
    """

    base_model: str
    spec: str
    data: str
    epochs: int
    """Of the spec: what "all epochs" means."""
    runs: tuple[CalibrationRun, ...]

    def __post_init__(self) -> None:
        histograms = [histogram for run in self.runs for histogram in (run.trained, run.others)]
        if len(set(map(len, histograms))) > 1:
            raise BadInput("calibration runs of one reference have one number of candidates")
        if any(not 0 <= count <= MAX_COUNT for histogram in histograms for count in histogram):
            raise BadInput("a rank histogram has counts from 0 up")
        partial = {run.share for run in self.runs if run.epochs == self.epochs} - {1.0}
        if len(partial) != 1 or not 0 < min(partial) < 1:
            raise BadInput("a reference has runs at share 1 and at one other share")
        for share in (1.0, *partial):
            count = len(self.at(share))
            if count < MIN_RUNS:
                raise BadInput(f"a reference has at least {MIN_RUNS} runs at share {share:g}, not {count}")
        if any(not sum(run.trained) for run in self.runs):
            raise BadInput("a calibration run has no row that was trained on and scored")

    @property
    def k(self) -> int:
        return len(self.runs[0].trained)

    @property
    def partial_share(self) -> float:
        """The calibrated share under 1."""
        return min(run.share for run in self.runs if run.epochs == self.epochs)

    @property
    def calibrated_epochs(self) -> tuple[int, ...]:
        """Ascending; the spec's own stand last."""
        return tuple(sorted({run.epochs for run in self.runs if run.share == 1.0}))

    def at(self, share: float, epochs: int | None = None) -> tuple[CalibrationRun, ...]:
        """The runs at a share, of all epochs where none are named."""
        return tuple(run for run in self.runs if (run.share, run.epochs) == (share, epochs or self.epochs))

    @property
    def id(self) -> str:
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Canonical: the same reference has the same bytes. Runs stand in a fixed order."""
        content = asdict(self) | {"runs": [asdict(run) for run in sorted(self.runs, key=_order)]}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Reference":
        try:
            return TypeAdapter(cls).validate_json(data)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise BadInput(f"no coverage reference: {problem['msg']} at {problem['loc']}") from None


def save_reference(reference: Reference, path: Path) -> None:
    write_whole(path, reference.to_json())


def load_reference(path: Path) -> Reference:
    try:
        return Reference.from_json(path.read_bytes())
    except OSError as error:
        raise file_error("read", path, error) from error


def _order(run: CalibrationRun) -> tuple[float, int, int]:
    return -run.share, run.epochs, run.seed
