"""The daemon as a process to be killed, with durations that a test can wait for.

    python -m tests.daemon.node_process JSON

The JSON has the tables of `Settings`, and under "profile" what differs from the profile that they name. All the rest
is what `touchstone validator run` runs.
"""

import asyncio
import json
import sys
from dataclasses import replace
from typing import Any

from validator.config import Durations, Profile
from validator.daemon import run_daemon
from validator.logs import log_to
from validator.settings import Settings


def make_settings(tables: dict[str, Any], changes: dict[str, Any]) -> Settings:
    class Changed(Settings):
        @property
        def profile(self) -> Profile:
            durations = Durations(**changes["durations"])
            return replace(super().profile, durations=durations, finality_depth=changes["finality_depth"])

    return Changed(**tables)


if __name__ == "__main__":
    wish = json.loads(sys.argv[1])
    with log_to(sys.stderr.fileno()):
        asyncio.run(run_daemon(make_settings(wish["settings"], wish["profile"])))
