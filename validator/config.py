"""What an operator may choose: profiles of durations, finality and fees.

Rule kept: `production` has the protocol's floors (protocol, "Defaults"); the `dev` profile relaxes exactly the floors,
the finality depth and the ban on loopback miners, is allowed on listed chain ids only, and says so at every start.
"""

from dataclasses import dataclass, replace

DEV_CHAIN_IDS = frozenset({31337, 1337, 131277322940537})
"""Anvil and Hardhat, geth --dev, eth-tester: the only chains on which the `dev` profile is allowed."""

HOUR_S = 3600
DAY_S = 24 * HOUR_S
MIN_COVERAGE_BPS = 8_000
"""Hundredths of a per cent of the rows: an honest miner's lower bound is well above, that of one with 75% below."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds that each state of a task may last, in the order of the terms."""

    accept_seconds: int
    train_seconds: int
    submitted_seconds: int
    challenged_seconds: int
    answered_seconds: int
    judging_seconds: int
    dispute_seconds: int


@dataclass(frozen=True, slots=True)
class FeeLimits:
    """What a transaction may cost at most, and how long one may stand still before more is offered for it (C11)."""

    max_fee_per_gas_wei: int = 500 * 10**9
    max_fee_per_action_wei: int = 3 * 10**17
    """Gas limit times fee: for the largest `settle` it is 100 gwei a gas."""
    bump_after_s: float = 60.0
    resend_after_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A set of choices that belong together: durations for terms, and floors for the network that they must keep.

    `finality_depth` None means the node's own `finalized` tag. `notice` is what is said at every start, if anything.
    """

    name: str
    durations: Durations
    floors: Durations
    unstake_delay_seconds: int
    finality_depth: int | None
    notice: str
    allows_loopback_miners: bool
    """Also over plain HTTP, and at any port: what listens there is the operator's own."""
    miner_ports: frozenset[int] = frozenset({443})
    """Where else a miner may be: a port behind which nothing but TLS is to be expected (N8)."""
    fee_limits: FeeLimits = FeeLimits()


_PROTOCOL = Durations(
    accept_seconds=24 * HOUR_S,
    train_seconds=7 * DAY_S,
    submitted_seconds=72 * HOUR_S,
    challenged_seconds=48 * HOUR_S,
    answered_seconds=48 * HOUR_S,
    judging_seconds=72 * HOUR_S,
    dispute_seconds=7 * DAY_S,
)
"""The protocol's; training is as agreed, and a committee gets the time that the validator has for the same work."""

PRODUCTION = Profile(
    name="production",
    durations=_PROTOCOL,
    floors=replace(_PROTOCOL, train_seconds=HOUR_S),
    # A task of these durations that is challenged, answered, settled and disputed takes 22 days, and free stake stands
    # behind the next task: it must not be gone before the world has seen how this one ended (C8, H1).
    unstake_delay_seconds=28 * DAY_S,
    finality_depth=None,
    notice="",
    allows_loopback_miners=False,
)

DEV = Profile(
    name="dev",
    durations=Durations(HOUR_S, 7 * DAY_S, HOUR_S, HOUR_S, HOUR_S, HOUR_S, dispute_seconds=2),
    floors=Durations(1, 1, 1, 1, 1, 1, 1),
    unstake_delay_seconds=1,
    finality_depth=0,
    notice=(
        "dev profile: no floors under deadlines, no finality depth, one node, miners on loopback without TLS; "
        "for development chains only"
    ),
    allows_loopback_miners=True,
)

PROFILES = {profile.name: profile for profile in (PRODUCTION, DEV)}
