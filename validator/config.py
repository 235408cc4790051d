"""What an operator may choose: profiles of durations and finality.

Rule kept: the `dev` profile relaxes exactly the floors, the finality depth and the ban on loopback miners, is allowed
on listed chain ids only, and says so at every start (protocol, "Defaults").
"""

from dataclasses import dataclass

HOUR_S = 3600
DAY_S = 24 * HOUR_S


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
class Profile:
    """A set of choices that belong together. `finality_depth` None means the node's own `finalized` tag."""

    name: str
    durations: Durations
    floors: Durations
    unstake_delay_seconds: int
    finality_depth: int | None
    notice: str


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
)
