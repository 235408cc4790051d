"""A validator or an auditor needs no compiler, no test tool and no torch; the README shows what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import RESULTS
from benchmarks.science.page import read_results
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
        "miner_sim.fleet",
        "validator.miner.daemon",
    ],
)
def test_what_runs_for_long_loads_neither_torch_nor_compiler_nor_test_tool(module: str) -> None:
    allowed = {"eth_tester"} if module == "validator.simulation.run" else set()
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not (HEAVY - allowed) & set(loaded)


def test_help_loads_nothing_slow_whatever_it_is_about() -> None:
    """So `touchstone --help` answers in a fifth of a second."""
    code = (
        "import contextlib, io, sys, typer.main; from validator.cli import app; command = typer.main.get_command(app)\n"
        "def explain(words, command):\n"
        "    app([*words, '--help'], standalone_mode=False)\n"
        "    for name, each in getattr(command, 'commands', {}).items(): explain([*words, name], each)\n"
        "with contextlib.redirect_stdout(io.StringIO()) as said: explain([], command)\n"
        "print(said.getvalue().count('Usage:'), *sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    explained, *loaded = ran.stdout.split()
    assert int(explained) > 30
    slow = {"web3", "aiohttp", "eth_account", "eth_abi", "numpy", "scipy", "sqlalchemy", "jinja2", *HEAVY}
    assert not slow & set(loaded)


def test_the_readme_shows_the_measured_figures() -> None:
    figures = (ROOT / "README.md").read_text().split(BEGIN)[1].split(END)[0].strip()
    assert figures == render(json.loads(RESULTS.read_text()), read_results()).strip()
