"""What an audit finds: what is wrong, how bad it is, who did it, and the bytes that prove it."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from validator.edges.chain import Log
from validator.evidence.fields import to_hex


class Severity(StrEnum):
    """A mismatch contradicts the protocol or the arithmetic; a warning is for people to judge; a note informs."""

    MISMATCH = "mismatch"
    WARNING = "warning"
    NOTE = "note"


class Party(StrEnum):
    """Whose doing it is. `NODE` is whoever answers at --rpc, `CONTRACT` a contract that is not Touchstone."""

    VALIDATOR = "validator"
    MINER = "miner"
    PAYER = "payer"
    COMMITTEE = "committee"
    CONTRACT = "contract"
    NODE = "node"


class Part(BaseModel):
    """A piece of the report: plain JSON values, hashes as hex behind 0x, amounts in wei as decimal text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Proof(Part):
    """Bytes (`data`, hex) that prove a finding, and where in the chain they stand; those of a bundle have no place."""

    what: str
    block: int | None = None
    transaction: str | None = None
    log_index: int | None = None
    data: str

    @classmethod
    def of_log(cls, what: str, log: Log) -> "Proof":
        """The data of an event, as the node gave it."""
        return cls(
            what=what,
            block=log.block_number,
            transaction=to_hex(log.tx_hash),
            log_index=log.log_index,
            data=to_hex(log.data),
        )

    @classmethod
    def of_bytes(cls, what: str, content: bytes) -> "Proof":
        return cls(what=what, data=to_hex(content))


class Finding(Part):
    """One thing that is wrong. `check` is a stable name, `message` one sentence; a node has no account."""

    severity: Severity
    party: Party
    account: str | None
    task_id: str | None
    check: str
    message: str
    proof: tuple[Proof, ...] = ()


def is_mismatch(findings: Iterable[Finding]) -> bool:
    """Whether any of them is a mismatch."""
    return any(finding.severity is Severity.MISMATCH for finding in findings)
