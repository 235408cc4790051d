"""`python -m benchmarks.reference`: the honest references that are shipped with the embedded model, measured anew.

Of the training that `touchstone simulate` asks for, and of the published tournament's, on the project's own generated
rows; minutes of one core. Needed whenever the coverage marks, the training or the embedded model change.
"""

import tempfile
from pathlib import Path

from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.base_model.grammar import generate_rows
from validator.coverage.calibration import calibrate
from validator.coverage.references import SHIPPED, References
from validator.edges.generator import LocalScorer, identify_model
from validator.operator.calibrate import describe_reference, mark_afresh
from validator.plan.spec import TrainingSpec
from validator.simulation.options import DEFAULT_ROWS
from validator.simulation.scenario import Spec
from validator.tournament.grid import find_grid, load_grid


def main() -> None:
    published = Spec.model_validate(load_grid(find_grid("published")).settings["spec"])
    for spec in (Spec(), published):
        _measure(spec.of_model(EMBEDDED_MODEL_NAME))


def _measure(spec: TrainingSpec) -> None:
    scorer = LocalScorer(EMBEDDED_MODEL)
    with tempfile.TemporaryDirectory() as directory:
        reference = calibrate(
            EMBEDDED_MODEL,
            spec,
            lambda seed: mark_afresh(generate_rows(DEFAULT_ROWS, seed), scorer, spec.max_length, seed),
            Path(directory),
            base_model=identify_model(EMBEDDED_MODEL),
            data=f"{DEFAULT_ROWS} generated rows",
            progress=lambda done, wanted: print(f"{done} of {wanted}", flush=True),
        )
    print(describe_reference(reference), References(SHIPPED).keep(reference))


if __name__ == "__main__":
    main()
