"""Training runs that never took place: rank histograms of honest and partial miners who differ from run to run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validator.coverage.ranks import Histogram
from validator.coverage.reference import CalibrationRun, Reference

K = 8


@dataclass(frozen=True)
class World:
    """A row that was trained on has rank 0 with probability `strength`, which is normal between runs with `tau`, and
    greater by `gain` per row that was not trained on; the other ranks follow a geometric law.
    """

    strength: float = 0.8
    tau: float = 0.02
    gain: float = 0.06
    epochs: int = 3

    def draw_strength(self, share: float, dice: np.random.Generator) -> float:
        return float(np.clip(dice.normal(self.strength + self.gain * (1 - share), self.tau), 0.01, 0.99))

    def run(self, share: float, rows: int, dice: np.random.Generator, *, epochs: int | None = None) -> CalibrationRun:
        """`epochs` fewer than all are learnt in proportion."""
        learnt = round(share * rows)
        strength = self.draw_strength(share, dice) * ((epochs or self.epochs) / self.epochs)
        trained = dice.multinomial(learnt, ranks_of_a_learnt_row(strength))
        others = dice.multinomial(rows - learnt, np.full(K, 1 / K))
        seed = int(dice.integers(2**31))
        return CalibrationRun(share, epochs or self.epochs, seed, tuple(trained.tolist()), tuple(others.tolist()), 0)

    def reference(self, dice: np.random.Generator, *, runs: int = 5, rows: int = 1000) -> Reference:
        measured = [self.run(share, rows, dice) for share in (1.0, 0.5) for _ in range(runs)]
        measured += [self.run(1.0, rows, dice, epochs=epochs) for epochs in range(1, self.epochs)]
        return Reference("base", '{"epochs":3}', "simulated", self.epochs, tuple(measured))


def ranks_of_a_learnt_row(strength: float) -> NDArray[np.float64]:
    tail = 0.7 ** np.arange(K - 1)
    return np.concatenate([[strength], (1 - strength) * tail / tail.sum()])


def whole(run: CalibrationRun) -> Histogram:
    """What a validator sees, who does not know which rows were trained on."""
    return tuple(a + b for a, b in zip(run.trained, run.others, strict=True))
