"""What is asked of a design, checked; BadInput for what makes no sense."""

from dataclasses import asdict, dataclass

from validator.amounts import MAX_WEI, describe_ether, parse_ether
from validator.errors import BadInput
from validator.types import Wei

CANARY, BACKDOOR, CANARY_AND_COVERAGE = "canary", "backdoor", "canary+coverage"
NONE, DELIVERED, JUDGED = "none", "delivered", "judged"
_NOTHING, _TWO_GWEI = Wei(0), Wei(2 * 10**9)
_MAX_ROWS = 2**24
"""Proofs have at most 24 hashes."""
_OPEN = ("false_refuse", "false_pay", "false_slash", "partial")
_SHARES = ("activation", "least_activation", "base_rate", "top_rank", "run_spread", "min_coverage", "fixed_cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignOptions:
    """The options of `touchstone plan`, by their names. Rates and shares are 0 to 1, amounts in wei.

    None: chosen by the design, or, for `reward_wei` and `training_wei`, no economics. `rule` is (share, P(learnt),
    relative activation), `fewer_epochs` (share of the training, activation, top rate), `selective` (share of the rows
    kept, share of the marks in them).
    """

    rows: int
    scheme: str = CANARY
    weights: str = NONE
    activation: float = 0.9
    partial: float = 0.5
    false_refuse: float = 0.01
    false_pay: float = 0.01
    false_slash: float = 1e-6
    least_activation: float = 0.45
    base_rate: float | None = None
    rule: tuple[tuple[float, ...], ...] | None = None
    probes: int | None = None
    k_pay: int | None = None
    k_slash: int | None = None
    slashing: bool | None = None
    coverage_marks: int | None = None
    candidates: int | None = None
    top_rank: float = 0.85
    run_spread: float = 0.02
    reference_runs: int = 5
    reference_marks: int = 1000
    min_coverage: float | None = None
    reward_wei: Wei | None = None
    training_wei: Wei | None = None
    fixed_cost: float = 0.0
    inference_wei: Wei = _NOTHING
    lookup_wei: Wei = _NOTHING
    gas_price_wei: Wei = _TWO_GWEI
    miner_bond_wei: Wei | None = None
    availability_bond_wei: Wei | None = None
    fewer_epochs: tuple[tuple[float, ...], ...] = ()
    selective: tuple[tuple[float, ...], ...] = ()
    is_lookup_accepted: bool = False

    def __post_init__(self) -> None:
        if self.weights not in (NONE, DELIVERED, JUDGED):
            raise BadInput(f"unknown --weights {self.weights!r}: it is {NONE}, {DELIVERED} or {JUDGED}")
        if self.rows > _MAX_ROWS:
            raise BadInput(f"a dataset has at most {_MAX_ROWS} rows, not {self.rows}")
        if self.coverage_marks is not None and not 2 <= self.coverage_marks <= self.rows:
            raise BadInput(f"coverage marks are 2 to {self.rows}, one for a row, not {self.coverage_marks}")
        for name in (*_OPEN, *_SHARES):
            value, is_open = getattr(self, name), name in _OPEN
            if value is not None and not (0 < value < 1 if is_open else 0 <= value <= 1):
                between = "between 0 and 1" if is_open else "0 to 1"
                raise BadInput(f"--{name.replace('_', '-')} is {between}, not {value:g}")
        if self.least_activation > self.activation:
            raise BadInput("--least-activation is no more than --activation: it is what an unlucky honest miner has")
        for points, count in ((self.rule or (), 3), (self.fewer_epochs, 3), (self.selective, 2)):
            if any(len(point) != count or not all(0 <= value <= 1 for value in point) for point in points):
                raise BadInput(f"a point is {count} numbers of 0 to 1 with colons between them")
        if (self.reward_wei is None) != (self.training_wei is None):
            raise BadInput("economics need both --reward and --training-cost")
        amounts = {name: value for name, value in asdict(self).items() if name.endswith("_wei") and value is not None}
        if amounts and max(amounts.values()) > MAX_WEI:
            raise BadInput(f"an amount of a task is at most {describe_ether(MAX_WEI)}")
        bond = self.availability_bond_wei
        if self.reward_wei is not None and bond is not None and 2 * bond < self.reward_wei:
            raise BadInput("the contract takes no availability bond under half of the reward")

    @property
    def are_weights_judged(self) -> bool:
        return self.weights == JUDGED


def parse_points(text: str) -> tuple[tuple[float, ...], ...]:
    """Points such as 0.25:0.67:0.45,0.5:0.67:0.85."""
    try:
        return tuple(tuple(float(value) for value in point.split(":")) for point in text.split(",") if point)
    except ValueError:
        raise BadInput(f"{text!r} is no list of points: numbers with colons, and commas between points") from None


def parse_optional_ether(text: str | None) -> Wei | None:
    return None if text is None else parse_ether(text)
