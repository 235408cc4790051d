"""Whether the daemon gets on: what its parts report as they work, and how long ago each of it may be.

Rule kept: alive and ready are two questions. Not ready is for people and load balancers: something stands still, look.
Not alive is a reason to kill the process, so only what a new process would do better counts: a node's outage is none.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

READY: Mapping[str, float] = {"loop": 10.0, "head": 180.0, "oldest_effect": 3600.0}
"""Seconds. A chain makes a block in far less than 180 s; the slowest effect waits for finality, some 15 minutes."""
TURNING: Mapping[str, float] = {"loop": 30.0, "head_poll": 900.0}
"""Without these the process is wedged: every single wait has a shorter time limit than that."""
ALIVE: Mapping[str, float] = {**TURNING, "head": 21_600.0}
"""A node that is gone so long may be one that only this process cannot see."""


@dataclass(frozen=True, slots=True)
class Check:
    """How long ago something was last seen to move, and how long ago that may be."""

    seconds: float
    limit_seconds: float
    is_ok: bool


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to one of the two questions. `stop_reason` is the journal's protective stop, if there is one."""

    checks: Mapping[str, Check]
    stop_reason: str | None

    @property
    def is_ok(self) -> bool:
        return self.stop_reason is None and all(check.is_ok for check in self.checks.values())

    def __str__(self) -> str:
        stale = [f"{name} {check.seconds:.0f} s old" for name, check in self.checks.items() if not check.is_ok]
        return ", ".join(stale if self.stop_reason is None else [f"stopped: {self.stop_reason}", *stale]) or "ok"

    def as_json(self) -> dict[str, Any]:
        checks = {
            name: asdict(check) | {"seconds": round(check.seconds, 3) if check.seconds < inf else None}
            for name, check in self.checks.items()
        }
        return {"is_ok": self.is_ok, "checks": checks, "stop_reason": self.stop_reason}


class Progress:
    """What the daemon's parts say of themselves; times are the running loop's, and begin with its creation.

    The loop's monitor calls `loop_turned`; the watcher calls `head_polled` after every look at the chain, whatever
    came of it. The oldest unfinished effect and the journal are asked when somebody wants to know.
    """

    def __init__(
        self,
        *,
        oldest_effect_age_s: Callable[[], float] = lambda: 0.0,
        journal_stop_reason: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._clock = asyncio.get_running_loop().time
        self.loop_turned_at = self.head_polled_at = self.head_seen_at = self._clock()
        self.has_seen_head = False
        self.oldest_effect_age_s = oldest_effect_age_s
        self.journal_stop_reason = journal_stop_reason

    def loop_turned(self) -> None:
        """The loop has come round."""
        self.loop_turned_at = self._clock()

    def head_polled(self, *, is_new: bool) -> None:
        """The chain was asked for its head; `is_new` if there was a later one than ever before."""
        self.head_polled_at = self._clock()
        if is_new:
            self.head_seen_at = self.head_polled_at
            self.has_seen_head = True

    def ready(self) -> Health:
        """Whether everything moves as it should, the chain looked at once at least; a protective stop counts."""
        return self._health(READY, self.journal_stop_reason())

    def alive(self) -> Health:
        """Whether there is no reason to kill the process."""
        return self._health(ALIVE)

    def turning(self) -> Health:
        """Whether the process itself is not wedged, however the chain is."""
        return self._health(TURNING)

    def _health(self, limits: Mapping[str, float], stop_reason: str | None = None) -> Health:
        now = self._clock()
        ages = {
            "loop": now - self.loop_turned_at,
            "head_poll": now - self.head_polled_at,
            "head": inf if limits is READY and not self.has_seen_head else now - self.head_seen_at,
            "oldest_effect": self.oldest_effect_age_s(),
        }
        checks = {name: Check(ages[name], limit_s, ages[name] <= limit_s) for name, limit_s in limits.items()}
        return Health(checks, stop_reason)
