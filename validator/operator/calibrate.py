"""`touchstone validator calibrate`: how well honest miners learn by one spec, measured, so that shares can be known.

Rule kept: the rows are marked as those of a task are, with draws of nobody's: a calibration has no secret.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from validator.base_model import base_model_paths
from validator.coverage.reference import Reference
from validator.coverage.references import References
from validator.edges.datasets import choose_rows, load_rows
from validator.errors import BadInput
from validator.marks.coverage import CoverageMark, apply_coverage, draw_coverage
from validator.marks.sampler import WordScorer
from validator.marks.secrets import DrawStream
from validator.plan.spec import TrainingSpec
from validator.protocol.commitment import Row
from validator.settings_file import load_settings
from validator.terminal import make_console


def run_calibrate(*, config: Path, data: Path, rows: int | None, spec: TrainingSpec, runs: int) -> None:
    """Train `runs` times on all rows and as often on half of them, and keep the reference where the daemon looks.

    Each run takes other `rows` of the file, marks and seed. What is measured stays measured if this is ended.
    """
    from validator.coverage.calibration import calibrate
    from validator.edges.generator import LocalScorer, identify_model

    settings = load_settings(config)
    model = base_model_paths(settings.model_work.base_models).get(spec.base_model, spec.base_model)
    if settings.generator.path is None:
        raise BadInput("coverage marks are drawn with a language model: set generator.model")
    pool, scorer, console = load_rows(data), LocalScorer(settings.generator.path), make_console()
    directory = settings.state.directory / "calibration" / spec.hash.hex()
    with console.status("training") as status:
        reference = calibrate(
            model,
            spec,
            lambda seed: mark_afresh(choose_rows(pool, rows, seed), scorer, spec.max_length, seed),
            directory,
            base_model=identify_model(model),
            data=f"{rows or len(pool)} of {len(pool)} rows of {data.name}",
            runs=runs,
            progress=lambda done, all_runs: status.update(f"{done} of {all_runs} trained and measured"),
        )
    path = References(settings.state.directory / "references").keep(reference)
    console.print(f"{describe_reference(reference)}; kept in {path}", highlight=False, soft_wrap=True)


def mark_afresh(
    rows: Sequence[Row], scorer: WordScorer, max_length: int, seed: int
) -> tuple[list[Row], list[CoverageMark]]:
    """The rows with a coverage mark in each that has a place for one."""
    stream = DrawStream(hashlib.sha256(f"calibration {seed}".encode()).digest())
    marks = draw_coverage(rows, range(len(rows)), stream, scorer, max_length=max_length)
    return apply_coverage(rows, marks), marks


def describe_reference(reference: Reference) -> str:
    """How often the drawn word comes out first after training, run by run."""
    shares = []
    for share in (1.0, reference.partial_share):
        rates = [run.trained[0] / sum(run.trained) for run in reference.at(share)]
        shares.append(f"{min(rates):.2f} to {max(rates):.2f} in {len(rates)} runs on {share:.0%} of the rows")
    return f"the drawn word of a row that was trained on is first of {reference.k} in {' and '.join(shares)}"
