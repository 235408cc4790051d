"""The contract as it is shipped: compiled, so that a validator, miner or auditor needs no compiler.

Rule kept: the artefact is exactly what `python -m contracts.compile` makes of `Touchstone.vy` (a test recompiles it).
"""

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
SOURCE_PATH = PACKAGE / "Touchstone.vy"
ARTIFACT_PATH = PACKAGE / "artifacts" / "Touchstone.json"


class TaskState(IntEnum):
    """`state` of `task_state` and `outcome` of `TaskClosed`: protocol, "States, durations, defaults"."""

    NONE = 0
    OPEN = 1
    ACCEPTED = 2
    SUBMITTED = 3
    CHALLENGED = 4
    ANSWERED = 5
    JUDGING = 6
    SLASH_PENDING = 7
    OPEN_LAPSED = 8
    MINER_LAPSED = 9
    VALIDATOR_LAPSED = 10
    PAID = 11
    REFUNDED = 12
    SLASHED = 13
    DISPUTED = 14

    @property
    def is_terminal(self) -> bool:
        """Whether the state is an outcome, one for each row of the protocol's outcome table."""
        return self >= TaskState.OPEN_LAPSED


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a client needs to deploy, call and recognise the contract.

    `runtime_bytecode` is the code at an address, less the 320 bytes of immutables that deployment appends.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime_bytecode: bytes
    compiler: str
    source_sha256: str


def load_artifact() -> Artifact:
    """The shipped artefact; raises OSError or ValueError only if the installation is damaged."""
    data = json.loads(ARTIFACT_PATH.read_text(encoding="utf-8"))
    return Artifact(
        abi=data["abi"],
        bytecode=bytes.fromhex(data["bytecode"]),
        runtime_bytecode=bytes.fromhex(data["runtime_bytecode"]),
        compiler=data["compiler"],
        source_sha256=data["source_sha256"],
    )
