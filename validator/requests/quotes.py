"""What a customer is told before anything is signed or paid: what it costs, how it is tested, what happens to the data.

Rule kept: the figures are those that the terms and the hypothesis test will have, computed by the same code.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from validator.errors import BadInput, first_problem
from validator.marks.coverage import count_marks
from validator.marks.planting import compute_min_rows
from validator.marks.schemes import Scheme, make_scheme
from validator.plan.terms import MIN_PROBES, choose_scheme, compute_fee
from validator.protocol.state import Weights
from validator.protocol.verdict import Thresholds, Verdict
from validator.requests.orders import MAX_ATTEMPTS, choose_expiry, choose_request_thresholds
from validator.types import Address, UnixSeconds, Wei


@dataclass(frozen=True, slots=True)
class Wish:
    """What a quote is asked for: a request without its data and signatures. None is what the validator prefers."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    payer: Address
    rows: int
    reward_wei: Wei
    scheme: str | None
    probes: int | None
    weights: Weights
    attempts: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What is to be signed for, in wei and seconds, and the test's error rates as probabilities.

    `credit_wei` is the payer's credit that no other request needs, `missing_wei` what one attempt takes beyond it.
    `expiry_s` is when Orders should expire. `p_paid_untrained` bounds what a model that never saw the marks reaches;
    the others are those of a miner whose probes hit at that rate.
    """

    validator: Address
    contract: Address
    chain_id: int
    reward_wei: Wei
    fee_wei: Wei
    credit_wei: Wei
    missing_wei: Wei
    expiry_s: UnixSeconds
    scheme: str
    n: int
    k_pay: int
    k_slash: int
    slashing: bool
    p_paid_untrained: float
    p_paid_at_90_percent: float
    p_paid_at_50_percent: float
    p_slashed_at_90_percent: float
    data_use: str


_WISH, _QUOTE = TypeAdapter(Wish), TypeAdapter(Quote)


def encode_wish(wish: Wish) -> bytes:
    return _WISH.dump_json(wish)


def decode_wish(body: bytes) -> Wish:
    """BadInput if it is none."""
    try:
        return _WISH.validate_json(body)
    except ValidationError as error:
        raise BadInput(f"no quote can be asked for so: {first_problem(error.errors())}") from None


def encode_quote(quote: Quote) -> bytes:
    return _QUOTE.dump_json(quote)


def decode_quote(body: bytes) -> Quote:
    """BadInput if it is none: the daemon is another version."""
    try:
        return _QUOTE.validate_json(body)
    except ValidationError as error:
        raise BadInput(f"the validator's quote cannot be read: {first_problem(error.errors())}") from None


def make_quote(
    wish: Wish,
    *,
    validator: Address,
    contract: Address,
    chain_id: int,
    credit_wei: int,
    accept_seconds: int,
    now_s: int,
    preferred: tuple[str | None, int],
) -> Quote:
    """BadInput for what cannot be had at all. `preferred` is the scheme and the number of probes of the validator."""
    scheme = make_scheme(wish.scheme or preferred[0] or choose_scheme(wish.weights))
    thresholds = choose_request_thresholds(wish.probes or preferred[1])
    needed = compute_min_rows(thresholds.n)
    if wish.rows < needed:
        fewer = "" if thresholds.n == MIN_PROBES else f", or ask for fewer with --probes (at least {MIN_PROBES})"
        raise BadInput(f"{wish.rows} rows are too few for {thresholds.n} marks: at least {needed} are needed{fewer}")
    if not 1 <= wish.attempts <= MAX_ATTEMPTS:
        raise BadInput(f"the number of attempts is 1 to {MAX_ATTEMPTS}, not {wish.attempts}")
    fee_wei = compute_fee(wish.reward_wei)
    return Quote(
        validator=validator,
        contract=contract,
        chain_id=chain_id,
        reward_wei=wish.reward_wei,
        fee_wei=fee_wei,
        credit_wei=Wei(credit_wei),
        missing_wei=Wei(max(0, wish.reward_wei + fee_wei - credit_wei)),
        expiry_s=choose_expiry(now_s, wish.attempts, accept_seconds),
        scheme=scheme.name,
        n=thresholds.n,
        k_pay=thresholds.k_pay,
        k_slash=thresholds.k_slash,
        slashing=thresholds.slashing,
        p_paid_untrained=judge(scheme, thresholds, thresholds.k_pay).false_pay_bound,
        p_paid_at_90_percent=thresholds.pay_probability(0.9),
        p_paid_at_50_percent=thresholds.pay_probability(0.5),
        p_slashed_at_90_percent=thresholds.slash_probability(0.9),
        data_use=_describe_data_use(scheme, thresholds.n, wish),
    )


def judge(scheme: Scheme, thresholds: Thresholds, hits: int) -> Verdict:
    """The verdict over so many hits of the scheme's probes."""
    n = thresholds.n
    return Verdict(thresholds, hits, (scheme.p0,) * n, scheme.probes_per_draw(n))


def _describe_data_use(scheme: Scheme, n: int, wish: Wish) -> str:
    change = f"in {n} of the {wish.rows} rows {scheme.describe(n)}"
    if scheme.coverage_k:
        change += f", and one word of the response in up to {count_marks(wish.rows)} others"
    weights = {
        Weights.NONE: "no weights are returned",
        Weights.DELIVERED: "the weights come back through the validator",
        Weights.JUDGED: "the weights come back through the validator, who judges them before the miner is paid",
    }[wish.weights]
    return (
        f"{change}; all rows go to one miner at a time, {wish.attempts} at most; the {n} rows become public when the "
        f"task is settled; {weights}"
    )
