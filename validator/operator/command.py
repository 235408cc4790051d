"""`touchstone validator init`, `check`, `deposit` and `sweep`, from options to what is printed."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from validator.amounts import parse_ether
from validator.files import check_writable
from validator.operator.check import print_findings, run_checks
from validator.operator.funds import deposit, sweep
from validator.operator.init import create_validator, next_steps
from validator.settings_file import load_settings
from validator.terminal import STANDARD_OUTPUT, make_console, write_json


def run_init(directory: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Make a validator's directory and say what comes next; BadInput if there is one."""
    new = create_validator(directory, values)
    console = make_console()
    for line in (f"the key {new.address}, a master seed and {new.config} are in {new.directory}", *next_steps(new)):
        console.print(line)


def run_check(config: Path, json_file: Path | None) -> bool:
    """Whether nothing is wrong; prints every finding, the way out beside it."""
    if json_file not in (None, STANDARD_OUTPUT):
        check_writable(json_file)
    findings = asyncio.run(run_checks(load_settings(config)))
    is_ok = all(finding.ok for finding in findings)
    if json_file != STANDARD_OUTPUT:
        print_findings(findings)
    if json_file is not None:
        write_json(json_file, {"ok": is_ok, "findings": [asdict(finding) for finding in findings]})
    return is_ok


def run_deposit(config: Path, amount: str) -> None:
    """Deposit so much ether; BadInput for an amount that is none."""
    print(asyncio.run(deposit(load_settings(config), parse_ether(amount))))


def run_sweep(config: Path) -> None:
    """Move what no task can need to the cold address."""
    print(asyncio.run(sweep(load_settings(config))))
