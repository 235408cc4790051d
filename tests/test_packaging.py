"""A validator or an auditor needs no compiler, no test tool and no torch; the README shows what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import RESULTS
from benchmarks.tables import BEGIN, END, render

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "vyper", "pytest", "eth_tester", "pyrevm"}


@pytest.mark.parametrize(
    "module",
    [
        "validator.app",
        "validator.audit.command",
        "validator.edges.contract",
        "validator.deployment.command",
        "validator.simulation.run",
        "miner_sim.server",
    ],
)
def test_what_runs_for_long_loads_neither_torch_nor_compiler_nor_test_tool(module: str) -> None:
    allowed = {"eth_tester"} if module == "validator.simulation.run" else set()
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not (HEAVY - allowed) & set(loaded)


def test_the_command_line_loads_nothing_slow_before_a_command_runs() -> None:
    code = "import sys, validator.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"web3", "aiohttp", "scipy", "sqlalchemy", *HEAVY} & set(loaded)


def test_the_readme_shows_the_measured_figures() -> None:
    figures = (ROOT / "README.md").read_text().split(BEGIN)[1].split(END)[0].strip()
    assert figures == render(json.loads(RESULTS.read_text())).strip()
