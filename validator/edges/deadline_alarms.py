"""How much of a transaction's time is gone while it is not mined, told at every quarter before the last."""

from dataclasses import dataclass

import structlog

from validator.telemetry import DEADLINE_ALARMS
from validator.types import EffectKey, UnixSeconds

ALARM_SHARES = (25, 50, 75)
"""Per cent of the time between the wish to send and the last second at which that is of use."""

log = structlog.get_logger(__name__)

for _share in ALARM_SHARES:
    DEADLINE_ALARMS.labels(str(_share))


@dataclass(slots=True)
class Deadline:
    """One effect's last second, and since when it has waited, in chain time."""

    key: EffectKey
    until_s: UnixSeconds
    since_s: UnixSeconds | None = None
    told_share: int = 0

    def look(self, now_s: UnixSeconds) -> None:
        """Note the time; raise an alarm for each share that has passed since the last look."""
        if self.since_s is None:
            self.since_s = now_s
        span_s = self.until_s - self.since_s
        for share in ALARM_SHARES:
            if share > self.told_share and (now_s - self.since_s) * 100 >= span_s * share:
                self.told_share = share
                DEADLINE_ALARMS.labels(str(share)).inc()
                tell = log.error if share == ALARM_SHARES[-1] else log.warning
                tell("a transaction is late", effect=self.key, share_gone=share, left_s=self.until_s - now_s)
