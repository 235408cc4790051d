"""`touchstone validator init`, `check` and `deposit`, from options to what is printed."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from validator.amounts import parse_ether
from validator.files import check_writable, write_whole
from validator.operator.check import Finding, run_checks
from validator.operator.deposit import deposit
from validator.operator.init import create_validator, next_steps
from validator.settings_file import load_settings


def run_init(directory: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Make a validator's directory and say what comes next; BadInput if there is one."""
    new = create_validator(directory, values)
    for line in (f"the key {new.address}, a master seed and {new.config} are in {new.directory}", *next_steps(new)):
        _console().print(line)


def run_check(config: Path, json_file: Path | None) -> bool:
    """Whether nothing is wrong; prints every finding, the way out beside it."""
    if json_file is not None:
        check_writable(json_file)
    findings = asyncio.run(run_checks(load_settings(config)))
    print_findings(findings)
    is_ok = all(finding.ok for finding in findings)
    if json_file is not None:
        result = {"ok": is_ok, "findings": [asdict(finding) for finding in findings]}
        write_whole(json_file, json.dumps(result, indent=2) + "\n")
    return is_ok


def print_findings(findings: Sequence[Finding]) -> None:
    """A line for each; a finding that is not fatal is a warning."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok" if finding.ok else "WRONG" if finding.is_fatal else "warning"
        way_out = f": {finding.remedy}" if finding.remedy else ""
        _console().print(f"{mark:<7}  {finding.name:<{width}}  {finding.detail}{way_out}")


def _console() -> Console:
    # Addresses and paths are for copying: never wrapped, coloured or read as markup.
    return Console(soft_wrap=True, highlight=False, markup=False)


def run_deposit(config: Path, amount: str) -> None:
    """Deposit so much ether; BadInput for an amount that is none."""
    print(asyncio.run(deposit(load_settings(config), parse_ether(amount))))
