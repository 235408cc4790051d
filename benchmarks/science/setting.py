"""One cell: who trains what on which rows, by a name that says it all."""

from dataclasses import dataclass

MAX_LENGTH = 128
"""Tokens of a row. Half of what a task has by default: a cell is to take about a minute."""


@dataclass(frozen=True, slots=True)
class Training:
    """What the spec says of the training."""

    epochs: int
    learning_rate: float
    batch_size: int = 4
    rank: int | None = None


TRAININGS = {
    ("canary", "full"): Training(12, 4e-3),
    ("canary", "lora"): Training(12, 5e-3, rank=32),
    ("canary+coverage", "full"): Training(12, 4e-3),
    ("backdoor", "full"): Training(5, 3e-3),
    ("backdoor", "lora"): Training(10, 3e-3, rank=32),
    ("backdoor-groups", "full"): Training(8, 3e-3),
    ("backdoor-synonyms", "full"): Training(12, 4e-3),
}
"""Specs under which an honest miner of the embedded model learns the marks, by scheme and method."""


@dataclass(frozen=True, slots=True)
class Setting:
    """`miner` is honest, partial:SHARE, unmarked (D as the customer wrote it), other (as many other rows of the same
    kind), base or noise; `model` llama (the embedded one) or a key of `architectures.CONFIGURATIONS`.
    """

    data: str
    rows: int
    marks: int
    scheme: str
    miner: str
    seed: int
    method: str = "full"
    model: str = "llama"
    epochs: int | None = None
    """Where they are not those of `TRAININGS`."""
    held_out: int = 200
    """Other rows of the dataset, on which the loss is measured; the first hundred are asked without a trigger."""

    @property
    def training(self) -> Training:
        return TRAININGS[self.scheme, self.method]

    @property
    def total_epochs(self) -> int:
        return self.epochs or self.training.epochs

    @property
    def task(self) -> str:
        """Settings with the same task share rows and marks."""
        return f"{self.data}/{self.rows}x{self.marks}/{self.scheme}/{self.seed}"

    @property
    def name(self) -> str:
        epochs = f"x{self.epochs}" if self.epochs else ""
        who = f"{self.method}{epochs}/{self.model}/{self.miner}/{self.seed}"
        return f"science/miners/{self.data}/{self.rows}x{self.marks}/{self.scheme}/{who}"
