"""What the commands of `touchstone miner` do."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from validator.amounts import parse_ether
from validator.files import check_writable
from validator.logs import log_to
from validator.miner.check import run_checks
from validator.miner.daemon import run_miner
from validator.miner.init import create_miner
from validator.miner.settings import MinerDaemonSettings
from validator.miner.unstake import unstake as take_stake_out
from validator.operator.check import print_findings
from validator.settings_file import load_settings_of
from validator.terminal import STANDARD_OUTPUT, make_console, write_json


def init(directory: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Make a miner's directory and say what comes next; BadInput if there is one."""
    console = make_console()
    for line in create_miner(directory, values):
        console.print(line)


def run(config: Path) -> None:
    """Until a signal comes."""
    settings = load_settings_of(MinerDaemonSettings, config)
    with log_to(sys.stderr.fileno(), level=settings.log.level, form=settings.log.format):
        asyncio.run(run_miner(settings))


def unstake(config: Path, amount: str | None) -> None:
    """Take so much ether out of the stake, or all, or what is on its way; BadInput for an amount that is none."""
    amount_wei = None if amount is None else parse_ether(amount)
    print(asyncio.run(take_stake_out(load_settings_of(MinerDaemonSettings, config), amount_wei)))


def check(config: Path, json_file: Path | None) -> bool:
    """Whether nothing is wrong; prints every finding, the way out beside it."""
    if json_file not in (None, STANDARD_OUTPUT):
        check_writable(json_file)
    findings = asyncio.run(run_checks(load_settings_of(MinerDaemonSettings, config)))
    is_ok = all(finding.ok for finding in findings)
    if json_file != STANDARD_OUTPUT:
        print_findings(findings)
    if json_file is not None:
        write_json(json_file, {"ok": is_ok, "findings": [asdict(finding) for finding in findings]})
    return is_ok
