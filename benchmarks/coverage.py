"""`python -m benchmarks.coverage [SPEC] [--until HH:MM] [--report]`: real training runs of known shares, as JSON lines.

Every run is one line of benchmarks/coverage.jsonl, so that a campaign can be stopped at any time and goes on where it
was, and several specs and machines add up; `--report` judges what is there. The rows are a real dataset's
($TOUCHSTONE_DATA) that the embedded model never saw, cut into parts that share no row: the reference is calibrated on
some parts and every share is estimated on others. Counts alone are kept, no text.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any

from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.coverage.reference import CalibrationRun, Reference
from validator.coverage.result import judge_histograms
from validator.edges.datasets import load_rows
from validator.marks.coverage import CoverageMark, apply_coverage, count_marks, draw_coverage
from validator.marks.rules import AlterationRules
from validator.marks.secrets import DrawStream
from validator.plan.spec import TrainingSpec
from validator.protocol.commitment import Row

RUNS = Path(__file__).with_name("coverage.jsonl")
DATASET = "squad_question_generation"
ROWS = 1000
CALIBRATION_PARTS = range(5)
TEST_PARTS = range(5, 10)
CALIBRATED_SHARES = (1.0, 0.5)
TEST_SHARES = (0.25, 0.75, 0.1, 0.9, 0.5, 1.0)
REPEATS = {"full": 4, "slow": 1, "lora": 1, "lora-64": 1}
"""How often each part takes each test share."""
JUDGED_SHARES, JUDGED_REPEATS = (0.75, 1.0), 8
"""Those that a task is refused and paid for, where the spec is `full`."""

_FULL = TrainingSpec(EMBEDDED_MODEL_NAME, epochs=3, learning_rate=3e-3, batch_size=4, max_length=96)
SPECS = {
    "full": _FULL,
    "slow": replace(_FULL, learning_rate=2e-3),
    "lora": replace(_FULL, learning_rate=5e-3, method="lora", rank=32),
    "lora-64": replace(_FULL, learning_rate=2e-3, batch_size=2, method="lora", rank=64),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: `is_test` says whether it is estimated, or calibrates."""

    spec: str
    part: int
    share: float
    repeat: int
    is_test: bool

    @property
    def seed(self) -> int:
        """Of the training, the picks and the choice of rows: every run has its own."""
        return int.from_bytes(sha256(repr(self).encode()).digest()[:4])


def plan(spec: str) -> Iterator[Planned]:
    """The calibration, each test share on each part, and then again."""
    for part in CALIBRATION_PARTS:
        for share in CALIBRATED_SHARES:
            yield Planned(spec, part, share, 0, False)
    for repeat in range(JUDGED_REPEATS):
        for part in TEST_PARTS:
            for share in TEST_SHARES:
                if repeat < REPEATS[spec] or (spec == "full" and share in JUDGED_SHARES):
                    yield Planned(spec, part, share, repeat, True)


def measure(planned: Planned) -> dict[str, Any]:
    """Mark, train, rank: the run's line."""
    from validator.coverage.calibration import measure_run

    drawn_s = time.process_time()
    rows, drawn = _draw(planned.part)
    started = time.process_time()
    stream = DrawStream(sha256(f"picks {planned.seed}".encode()).digest())
    marks = [replace(mark, pick=stream.below(len(mark.candidates))) for mark in drawn]
    marked = apply_coverage(rows, marks)
    spec = SPECS[planned.spec]
    runs = measure_run(EMBEDDED_MODEL, spec, marked, marks, share=planned.share, seed=planned.seed)
    seconds = {"cpu_s": round(time.process_time() - started, 1), "drawing_cpu_s": round(started - drawn_s, 1)}
    return asdict(planned) | {"rows": len(rows), "runs": [asdict(run) for run in runs]} | seconds


@lru_cache(maxsize=2)
def _draw(part: int) -> tuple[list[Row], list[CoverageMark]]:
    """The rows of a part and their candidates, which no pick changes: a mark stands behind everything that they see."""
    from validator.edges.generator import LocalScorer

    rows = load_rows(Path(os.environ["TOUCHSTONE_DATA"]) / f"{DATASET}.jsonl")
    random.Random(0).shuffle(rows)
    rows = rows[part * ROWS : (part + 1) * ROWS]
    stream = DrawStream(sha256(f"places {part}".encode()).digest())
    scorer = LocalScorer(EMBEDDED_MODEL)
    length, rules = SPECS["full"].max_length, AlterationRules()
    chosen = sorted(stream.sample(range(len(rows)), count_marks(len(rows))))
    return rows, draw_coverage(rows, chosen, stream, scorer, max_length=length, rules=rules)


def read_lines(spec: str) -> list[dict[str, Any]]:
    if not RUNS.exists():
        return []
    lines = [json.loads(line) for line in RUNS.read_text().splitlines()]
    return [line for line in lines if line["spec"] == spec]


def build_reference(spec: str, lines: list[dict[str, Any]]) -> Reference:
    """From the calibration lines; BadInput while there are too few."""
    runs = [CalibrationRun(**_tuples(run)) for line in lines if not line["is_test"] for run in line["runs"]]
    return Reference(
        EMBEDDED_MODEL_NAME, SPECS[spec].to_json(), f"{DATASET}, {ROWS} rows", SPECS[spec].epochs, tuple(runs)
    )


def judge_lines(reference: Reference, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One verdict for each test line: share, interval, p."""
    verdicts = []
    for line in lines:
        if not line["is_test"]:
            continue
        run = line["runs"][-1]
        histogram = tuple(a + b for a, b in zip(run["trained"], run["others"], strict=True))
        result = judge_histograms(
            {len(histogram): histogram}, seed=line["runs"][-1]["seed"], dropped=run["dropped"], reference=reference
        )
        assert result.trained
        estimate = result.trained.estimate
        verdicts.append(
            {
                "share": line["share"],
                "estimate": estimate.share,
                "interval": (estimate.low, estimate.high),
                "lower_bound": estimate.lower_bound,
                "log10_p": result.log10_p,
                "epochs": result.trained.epochs,
            }
        )
    return verdicts


def report(spec: str) -> str:
    """Bias and coverage of the intervals by share."""
    lines = read_lines(spec)
    reference = build_reference(spec, lines)
    verdicts = judge_lines(reference, lines)
    text = [f"{spec}: {len(lines)} runs, {mean(line['cpu_s'] for line in lines):.0f} CPU-s each; {reference.id[:16]}"]
    for share in sorted({verdict["share"] for verdict in verdicts}):
        of = [verdict for verdict in verdicts if verdict["share"] == share]
        errors = [verdict["estimate"] - share for verdict in of]
        covered = sum(verdict["interval"][0] <= share <= verdict["interval"][1] for verdict in of)
        text.append(
            f"share {share:.2f}: {len(of)} runs, mean error {mean(errors):+.4f}, mean |error| "
            f"{mean(map(abs, errors)):.4f}, covered {covered} of {len(of)}, lower bound "
            f"{min(v['lower_bound'] for v in of):.3f} to {max(v['lower_bound'] for v in of):.3f}, log10 p "
            f"{min(v['log10_p'] for v in of):.0f} to {max(v['log10_p'] for v in of):.0f}"
        )
    return "\n".join(text)


def _tuples(run: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in run.items()}


def main(arguments: list[str]) -> None:
    until = arguments[arguments.index("--until") + 1] if "--until" in arguments else None
    if unknown := set(arguments) - {*SPECS, "--report", "--until", until}:
        sys.exit(f"{unknown.pop()} is neither a spec ({', '.join(SPECS)}) nor an option\n{__doc__}")
    spec = next((argument for argument in arguments if argument in SPECS), "full")
    if "--report" in arguments:
        print(report(spec))
        return
    done = {Planned(**{name: line[name] for name in Planned.__slots__}) for line in read_lines(spec)}
    for planned in plan(spec):
        if planned in done:
            continue
        if until and time.strftime("%H:%M") >= until:
            return
        line = measure(planned)
        with RUNS.open("a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
        print(f"{planned.spec} part {planned.part} share {planned.share}: {line['cpu_s']} CPU-s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
