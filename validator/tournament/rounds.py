"""A round of a tournament: what is played, and the key under which its result is kept."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from validator.types import Wei

ROUND_VERSION = 1
"""In every key: raised when the same round would mean something else."""


@dataclass(frozen=True)
class Round:
    """One simulation: miners that share rows, marks and chain. `scheme` and `parameters` are names in the grid."""

    scheme: str
    parameters: str
    seed: int
    strategies: tuple[str, ...]
    """One miner each."""
    settings: dict[str, Any]
    """Of the scenario, whatever the grid says for the scheme and the parameters."""

    @property
    def canonical(self) -> str:
        """The same text for the same round, on every machine."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def key(self) -> str:
        """SHA-256 of the canonical round, in hex."""
        return hashlib.sha256(f"round {ROUND_VERSION}:{self.canonical}".encode()).hexdigest()

    @classmethod
    def from_canonical(cls, text: str) -> "Round":
        fields = json.loads(text)
        return cls(**(fields | {"strategies": tuple(fields["strategies"])}))

    def __str__(self) -> str:
        shown = f"{self.scheme}, {self.parameters}, seed {self.seed}: {', '.join(self.strategies)}"
        return shown if len(shown) <= 120 else f"{shown[:117]}..."


@dataclass(frozen=True, slots=True)
class Played:
    """What a finished round left: the simulation's own report, and what it took."""

    report: dict[str, Any]
    wall_s: float
    versions: dict[str, str]
    """Package, Python, torch, machine."""


@dataclass(frozen=True, slots=True)
class Result:
    """One miner of one finished round, as the report tells it."""

    round_key: str
    scheme: str
    parameters: str
    seed: int
    strategy: str
    intent: str
    """honest, mistake (an honest miner's) or cheat."""
    miner: str
    """Its name in the round, such as `honest-1`."""
    verdict: str
    """paid, refunded or slashed."""
    outcome: str
    """The contract's word for the same, which tells a lapse from a refund."""
    hits: int | None
    """None if it never came to a settlement."""
    n: int
    p_value: float | None
    trained_share: float | None
    """Estimated from returned weights, between 0 and 1; None where none were judged against a reference."""
    to_miner_wei: Wei
    lost_wei: Wei
    """Of the miner's own bonds, burned."""
    cpu_s: float | None
    """Of its training, its search for marks and its answers; None if the miners did not measure it."""
    flops: float | None


def read_results(played_round: Round, report: dict[str, Any]) -> list[Result]:
    """The rows of a round's miners."""
    return [_read_result(played_round, miner) for miner in report["miners"]]


def _read_result(played_round: Round, miner: dict[str, Any]) -> Result:
    cost = miner.get("cost") or {}
    trained = (miner["coverage"] or {}).get("trained_share")
    to_miner_wei = Wei(miner["to_miner_wei"])
    return Result(
        round_key=played_round.key,
        scheme=played_round.scheme,
        parameters=played_round.parameters,
        seed=played_round.seed,
        strategy=miner["strategy"],
        intent=miner["intent"],
        miner=miner["name"],
        verdict=miner["verdict"],
        outcome=miner["outcome"],
        hits=miner["hits"],
        n=miner["n"],
        p_value=miner["p_value"],
        trained_share=trained[0] if trained else None,
        to_miner_wei=to_miner_wei,
        # Where the miner is paid, what burns is the validator's (protocol, "Who gets what").
        lost_wei=Wei(0 if to_miner_wei else miner["burned_wei"]),
        cpu_s=cost.get("cpu_s"),
        flops=cost.get("flops"),
    )
