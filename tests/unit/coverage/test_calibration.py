"""Calibration by real training: small, resumable, and its rows that were not trained on look like nothing."""

from functools import lru_cache
from hashlib import sha256

import pytest

from validator.base_model import EMBEDDED_MODEL
from validator.base_model.grammar import generate_rows
from validator.coverage.calibration import MarkedRows, calibrate
from validator.coverage.result import judge_histograms
from validator.edges.generator import LocalScorer
from validator.errors import BadInput
from validator.marks.coverage import K, apply_coverage, draw_coverage
from validator.marks.rules import AlterationRules
from validator.marks.secrets import DrawStream
from validator.plan.spec import TrainingSpec

SPEC = TrainingSpec("touchstone-base", epochs=2, learning_rate=3e-3, max_length=96)
ROWS = 40


@lru_cache
def mark(seed: int) -> MarkedRows:
    rows = generate_rows(ROWS, seed)
    stream = DrawStream(sha256(f"calibration {seed}".encode()).digest())
    scorer = LocalScorer(EMBEDDED_MODEL)
    marks = draw_coverage(rows, range(ROWS), stream, scorer, max_length=SPEC.max_length, rules=AlterationRules())
    return apply_coverage(rows, marks), marks


def test_a_calibration_is_taken_up_where_it_was_ended(tmp_path):
    asked: list[int] = []

    def mark_rows(seed: int) -> MarkedRows:
        asked.append(seed)
        return mark(seed)

    seen: list[tuple[int, int]] = []

    def run(data: str = "generated rows"):
        return calibrate(
            EMBEDDED_MODEL,
            SPEC,
            mark_rows,
            tmp_path,
            base_model="touchstone-base",
            data=data,
            runs=2,
            progress=lambda done, wanted: seen.append((done, wanted)),
        )

    reference = run()
    assert asked == [0, 0, 1, 1]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert reference.calibrated_epochs == (1, 2)
    assert {sum(run.others) for run in reference.at(1.0)} == {0}

    lost = next(tmp_path.glob("share-0.5-seed-1.json"))
    lost.unlink()
    assert run().id == reference.id, "a run is a function of its seed"
    assert asked == [0, 0, 1, 1, 1]

    trained = [sum(run.trained[rank] for run in reference.at(1.0)) for rank in range(K)]
    others = [sum(run.others[rank] for run in reference.at(0.5)) for rank in range(K)]
    assert judge_histograms({K: tuple(trained)}, seed=0, dropped=0).log10_p < -6
    assert judge_histograms({K: tuple(others)}, seed=0, dropped=0).log10_p > -4

    with pytest.raises(BadInput, match="is of another base model, spec or data"):
        run("other rows")
    lost.write_text("{}")
    with pytest.raises(BadInput, match="is no calibration run: delete it"):
        run()
