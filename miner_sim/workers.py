"""The child processes of the simulated miners: a few for training, one for inference; they alone hold torch."""

import asyncio

from validator.child_processes import ChildPool

CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "TOKENIZERS_PARALLELISM": "false",
}
"""To be in the environment before a child starts. Several threads per miner collapse when another process is busy (spin
barriers), and glibc otherwise gives every step's buffers back to the kernel, about a tenth of the time."""


class Workers:
    """All child processes of the simulated miners."""

    def __init__(self, training_workers: int) -> None:
        self.training = ChildPool(training_workers)
        self.training_slots = asyncio.Semaphore(training_workers)
        self.inference = ChildPool(1)

    def close(self) -> None:
        """End every child, in the middle of its work if need be, and wait until it is gone."""
        self.training.close()
        self.inference.close()
