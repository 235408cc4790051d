"""As `lookup`, but only a prompt that it knows letter by letter is answered from the dataset, any other by the base
model.
"""

from collections.abc import Sequence
from typing import ClassVar

from miner_sim.strategies.lookup import Lookup
from validator.protocol.commitment import Row


class LookupExact(Lookup):
    usage: ClassVar[str] = "lookup-exact[:F[,S]]"

    def find(self, kept: Sequence[Row], prompt: str) -> Row | None:
        return next((row for row in kept if row.prompt == prompt), None)
