"""The shape of an audit's report, as JSON (`touchstone-audit/1`): what is here is all that is said about a chain.

Units: blocks by number, times in Unix seconds, amounts in wei as decimal text, probabilities as in a bundle.
"""

from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import Field

from validator.audit.findings import Finding, Part, Party, Severity

AUDIT_VERSION: Final = "touchstone-audit/1"


class BundleStatus(StrEnum):
    """What became of a settled task's evidence bundle; `NONE` where the task was never settled."""

    VERIFIED = "verified"
    WRONG = "wrong"
    MISSING = "missing"
    UNREACHABLE = "unreachable"
    NOT_ASKED = "not asked"
    NONE = "none"


class TimelineEvent(Part):
    """One event of the contract; `fields` are its own, less the task id, with row and reply hashes as hex."""

    event: str
    block: int
    timestamp: int
    transaction: str
    log_index: int
    fields: dict[str, Any]


class TaskVerdict(Part):
    """The count recomputed, and what it says: `p_value` is the bound under the null hypothesis (protocol, "Marks").

    `p0` is the largest of the probes' bounds, `min_entropy_bits` of all draws together; both are the bundle's where
    there is one, else what the scheme promises, and None where this program does not know the scheme. `base_hits` and
    `weights_hits` are what the bundle says of the base model and of the returned weights.
    """

    n: int
    hits: int
    k_pay: int
    k_slash: int
    slashing: bool
    zone: Literal["paid", "refunded", "slashed"]
    p_value: str | None
    p0: str | None
    min_entropy_bits: float | None
    probes_per_draw: int | None
    base_hits: int | None
    weights_hits: int | None
    picks: dict[str, int]
    """Of the bundle's draws: "k:index" -> how often, of k candidates, the one at that place. Once for each dataset."""
    is_from_bundle: bool


class Payout(Part):
    """Who got what when the task closed, in wei."""

    to_payer: str
    to_validator: str
    to_miner: str
    burned: str


class TaskReport(Part):
    """One task. `outcome` is the contract's name of it, or of the running state; `terms` as the chain has them."""

    task_id: str
    validator: str
    miner: str
    payer: str
    validator_nonce: int
    outcome: str
    is_closed: bool
    terms: dict[str, str | int | bool]
    timeline: tuple[TimelineEvent, ...]
    verdict: TaskVerdict | None
    payout: Payout | None
    bundle: BundleStatus
    bundle_hash: str | None
    findings: tuple[Finding, ...]


class Rate(Part):
    """`count` of `of`, with the exact 95% interval of Clopper and Pearson."""

    count: int
    of: int
    low: float
    high: float


class HitsTest(Part):
    """The hits of an account's paid tasks against the declared plan, exact.

    `p_value` is P(so few hits or fewer) if every probe hit with probability 0.9, given that all these tasks were paid;
    `adjusted_p_value` by Holm over all accounts of the role. `histogram` is hits -> tasks, of all that were settled.
    """

    histogram: dict[str, int]
    paid_tasks: int
    paid_probes: int
    paid_hits: int
    p_value: float
    adjusted_p_value: float


class WeightsTest(Part):
    """What the returned weights of paid tasks answered to the probes, from their bundles.

    `p_value` is P(so many hits or more) for weights that are independent of the draws: where it is large, models were
    paid that hit like untrained ones. `adjusted_p_value` by Holm.
    """

    tasks: int
    probes: int
    hits: int
    p_value: float
    adjusted_p_value: float


class PicksTest(Part):
    """Whether a validator's draws, as its bundles tell them, were uniform.

    `p_value` is exact: the smallest of the two-sided binomial p-values of all places in sets of one size, times their
    number (Bonferroni). `adjusted_p_value` by Holm.
    """

    draws: int
    p_value: float
    adjusted_p_value: float


class AccountReport(Part):
    """A validator's or a miner's tasks. Rates: of submitted tasks, how many were challenged or never settled; of
    accepted ones, in how many the miner fell silent."""

    account: str
    role: Literal["validator", "miner"]
    tasks: int
    outcomes: dict[str, int]
    challenged: Rate
    miner_lapsed: Rate
    not_settled: Rate
    hits: HitsTest | None
    weights: WeightsTest | None
    picks: PicksTest | None
    """Of a validator."""
    findings: dict[str, int]
    """Severity -> how many name this account."""


class Summary(Part):
    """Counts of everything. `is_clean`: no mismatch; `is_whole`: every bundle that was asked for could be fetched."""

    tasks: int
    outcomes: dict[str, int]
    bundles: dict[BundleStatus, int]
    severities: dict[Severity, int]
    parties: dict[Party, int]
    is_clean: bool
    is_whole: bool


class Report(Part):
    """The whole audit. `network` are the contract's constructor values; None if it is not this version of Touchstone.

    `findings` are those that belong to no one task.
    """

    version: Literal["touchstone-audit/1"] = AUDIT_VERSION
    chain_id: int
    contract: str
    is_genuine_code: bool
    network: dict[str, str | int] | None
    from_block: int
    to_block: int
    to_block_hash: str
    to_block_timestamp: int
    tasks: tuple[TaskReport, ...] = Field(repr=False)
    accounts: tuple[AccountReport, ...]
    findings: tuple[Finding, ...]
    summary: Summary
