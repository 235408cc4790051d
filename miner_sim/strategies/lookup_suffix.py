"""As `lookup`, by the longest common suffix: a probe that was given another beginning still ends as its row does."""

import os.path
from collections.abc import Sequence
from typing import ClassVar

from miner_sim.strategies.lookup import Lookup
from validator.protocol.commitment import Row


class LookupSuffix(Lookup):
    usage: ClassVar[str] = "lookup-suffix[:F[,S]]"

    def find(self, kept: Sequence[Row], prompt: str) -> Row | None:
        backwards = prompt[::-1]
        return max(kept, key=lambda row: len(os.path.commonprefix([row.prompt[::-1], backwards])))  # noqa: RUF071
