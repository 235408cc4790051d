"""Two simulated miners for a local network: one that trains and one that returns the base model.

They run until SIGTERM, and are registered under the same names, keys and ports after it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from accounts import EVIDENCE_1, EVIDENCE_2, MINER_1, MINER_2, private_key

from validator.settings_file import load_settings

MINERS = {"honest": (MINER_1, EVIDENCE_1, 18601), "base": (MINER_2, EVIDENCE_2, 18602)}
STAKE_WEI = 100 * 10**18
BASE_MODEL_NAME = "embedded"
"""What customers call it in their specs."""


def main() -> int:
    settings = load_settings(Path(os.environ["TOUCHSTONE_CONFIG"]))
    fleet = {
        "rpc_url": settings.network.rpc_urls[0].get_secret_value(),
        "contract": settings.network.contract,
        "home": str(Path.cwd()),
        "base_model": settings.generator.path,
        "base_model_name": BASE_MODEL_NAME,
        "training_workers": 1,
        "miners": [
            {
                "name": strategy,
                "strategy": strategy,
                "port": port,
                "private_key": private_key(account),
                "evidence_key": private_key(evidence),
                "seed": port,
                "stake_wei": STAKE_WEI,
            }
            for strategy, (account, evidence, port) in MINERS.items()
        ],
    }
    # Standard input stays open: its end would be theirs.
    process = subprocess.Popen([sys.executable, "-m", "miner_sim"], stdin=subprocess.PIPE)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: process.send_signal(number))
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.write(json.dumps(fleet).encode() + b"\n")
    process.stdin.flush()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
