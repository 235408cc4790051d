"""The lives that a task can have, and the troubles that the world makes meanwhile.

A Trouble is part of the scenario, with or without a crash: it looks at the world after every block, and stands in the
wire of the validator.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.daemon.memory_miner import Behaviour, Purse
from tests.daemon.world import PROFILE, World
from validator.config import FeeLimits, Profile
from validator.errors import Transient
from validator.protocol.state import Phase, TaskState


class Trouble:
    """None. It is made anew for every run; `has_struck` tells whether there was any."""

    has_struck = False

    async def prepare(self, world: World) -> None:
        """Called before the validator starts for the first time."""

    def after_block(self, world: World) -> None: ...

    def on_the_wire(self, world: World, what: str) -> None:
        """Called before a request arrives and before its answer leaves."""

    def on_change(self, _world: World, _state: TaskState) -> float:
        """Called with each new state of a task; for how many seconds the validator is to be down from then on."""
        return 0.0


@dataclass
class Reorganisation(Trouble):
    """Once: when the block with an event of the contract is the `age`-th before the head, the chain loses it."""

    fact: str
    age: int
    keeps_transactions: bool = True
    has_struck: bool = False

    def after_block(self, world: World) -> None:
        if self.has_struck:
            return
        for block, outcome in world.node.outcomes():
            names = [name for name, _ in outcome.facts()]
            if self.fact in names and world.node.head.number - block.number == self.age:
                self.has_struck = True
                world.node.reorganise(self.age + 1, keeps_transactions=self.keeps_transactions)
                return


@dataclass
class Outage(Trouble):
    """Once: the validator dies when a task is in a phase and `is_ripe`, and is down for a while."""

    phase: Phase
    seconds: float
    is_ripe: Callable[[TaskState], bool] = lambda _state: True
    has_struck: bool = False

    def on_change(self, _world: World, state: TaskState) -> float:
        if self.has_struck or state.phase is not self.phase or not self.is_ripe(state):
            return 0.0
        self.has_struck = True
        return self.seconds


@dataclass
class Flapping(Trouble):
    """Until `until_s`, one in `every` requests to the node, or to the miners, is lost, or its answer."""

    is_the_node: bool
    every: int = 4
    until_s: float = 12.0
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    has_struck: bool = False

    def on_the_wire(self, world: World, what: str) -> None:
        is_meant = what.startswith("eth_") == self.is_the_node
        if is_meant and world.clock.now_s < self.until_s and self.dice.randrange(2 * self.every) == 0:
            self.has_struck = True
            raise Transient("the connection was reset")


@dataclass
class FullDisk(Trouble):
    """The journal cannot grow for a while, once a task is in a phase: SQLite itself refuses (SQLITE_FULL)."""

    phase: Phase
    seconds: float
    is_ripe: Callable[[TaskState], bool] = lambda _state: True
    since_s: float | None = None
    has_struck: bool = False

    def on_change(self, world: World, state: TaskState) -> float:
        if self.since_s is None and state.phase is self.phase and self.is_ripe(state):
            self.since_s = world.clock.now_s
            world.limit_disk(is_full=True)
        return 0.0

    def after_block(self, world: World) -> None:
        self.has_struck = world.disk_refusals > 0
        if world.is_disk_full and self.since_s is not None and world.clock.now_s - self.since_s >= self.seconds:
            world.limit_disk(is_full=False)


@dataclass
class FeeSpike(Trouble):
    """Once the evidence is ready, a block costs thirty times as much: what was signed for less is never mined."""

    has_struck: bool = False

    def on_change(self, world: World, state: TaskState) -> float:
        if _is_bundled(state) and not self.has_struck:
            self.has_struck = True
            world.node.base_fee_wei *= 30
        return 0.0


@dataclass
class CancelledOrder(Trouble):
    """The payer has changed its mind: the contract takes the Order no more."""

    has_struck: bool = False

    async def prepare(self, world: World) -> None:
        await world.contract.cancel_order(Purse(world.node, world.payer), world.tasks[0].order.nonce)
        world.node.mine()
        self.has_struck = True


@dataclass(frozen=True)
class Scenario:
    """`outcomes` are the contract's names for the end of each miner's task."""

    outcomes: tuple[str, ...]
    behaviours: tuple[Behaviour, ...] = (Behaviour(),)
    troubles: Callable[[], Sequence[Trouble]] = tuple
    profile: Profile = PROFILE


def _is_bundled(state: TaskState) -> bool:
    return state.bundle_hash is not None


def _is_probed(state: TaskState) -> bool:
    return any(answer is not None for answer in state.answers)


PATIENT = replace(PROFILE, durations=replace(PROFILE.durations, submitted_seconds=600))
"""For pauses between attempts that have grown long."""

EAGER = replace(PROFILE, fee_limits=FeeLimits(bump_after_s=1.0, resend_after_s=0.5))
PAID = ("PAID",)

SCENARIOS = {
    "paid": Scenario(PAID),
    "refunded": Scenario(("REFUNDED",), (Behaviour(hit_share=0.5),)),
    "slashed": Scenario(("SLASHED",), (Behaviour(hit_share=0.0),)),
    "two-at-once": Scenario(("PAID", "SLASHED"), (Behaviour(), Behaviour(hit_share=0.0))),
    "not-opened": Scenario(("NONE",), troubles=lambda: [CancelledOrder()]),
    "no-accept": Scenario(("OPEN_LAPSED",), (Behaviour(accepts=False),)),
    "late": Scenario(("MINER_LAPSED",), (Behaviour(training_s=10_000.0),)),
    "silent": Scenario(("MINER_LAPSED",), (Behaviour(answers_probes=False, answers_challenges=False),)),
    "challenge": Scenario(PAID, (Behaviour(signs=False),)),
    "no-settle": Scenario(("VALIDATOR_LAPSED",), troubles=lambda: [Outage(Phase.SUBMITTED, 25.0, _is_probed)]),
    "reorg-at-open": Scenario(PAID, troubles=lambda: [Reorganisation("TaskOpened", age=1)]),
    "reorg-at-submit": Scenario(PAID, troubles=lambda: [Reorganisation("ModelSubmitted", 1, keeps_transactions=False)]),
    "reorg-at-settle": Scenario(PAID, troubles=lambda: [Reorganisation("TaskSettled", age=1)]),
    "disk-full-at-probes": Scenario(PAID, troubles=lambda: [FullDisk(Phase.ACCEPTED, 3.0)]),
    "disk-full-at-settle": Scenario(PAID, troubles=lambda: [FullDisk(Phase.SUBMITTED, 3.0, _is_bundled)]),
    "flapping-node": Scenario(PAID, troubles=lambda: [Flapping(is_the_node=True)], profile=PATIENT),
    "flapping-miner": Scenario(PAID, troubles=lambda: [Flapping(is_the_node=False)], profile=PATIENT),
    "fee-spike": Scenario(PAID, troubles=lambda: [FeeSpike()], profile=EAGER),
}
