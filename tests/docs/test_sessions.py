"""What the guides have readers type, typed: line by line as it stands there, with what a reader fills in.

`test_commands.py` holds that every command of the pages is in one of these sessions, in another test, or on its list.
"""

import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.live_world import free_port
from tests.docs.pages import Command, commands, section, toml_blocks
from tests.docs.terminal import Terminal
from tests.report.made_store import make_store
from validator.base_model import EMBEDDED_MODEL
from validator.base_model.grammar import generate_rows
from validator.edges.key_files import create_keystore, create_private
from validator.edges.keys import LocalSigner, SecretBytes
from validator.protocol.wire import encode_training_file

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("sessions"), pytest.mark.timeout(1_200)]
VENV = Path(sys.executable).parent.parent
PATIENCE_S = 120.0
PAYER = SecretBytes(b"\6" * 32)
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"

QUICKSTART = section("docs/quickstart.md", "A validator of your own")
SIMULATIONS = section("docs/simulator.md", "One round")
BACKUP = section("docs/operator.md", "Back up and restore")
CALIBRATION = section("docs/operator.md", "Judge how much was trained on")
DESIGN = section("docs/operator.md", "Design a test")
REQUEST = section("docs/customer.md", "Ask a validator")
PLANTING = [each for each in commands("docs/customer.md") if each.text.startswith("touchstone plant")]
AUDIT = [each for each in commands("docs/auditor.md") if each.text.startswith("touchstone audit")]
TOURNAMENT = section("docs/simulator.md", "A tournament: which cheats pay")[1:]
TYPED: list[Command] = [
    *(QUICKSTART + SIMULATIONS + BACKUP + CALIBRATION + DESIGN + PLANTING + AUDIT + TOURNAMENT),
    *(each for each in REQUEST if " fetch " not in each.text),
]
"""All of them; a model to fetch is a paid one, which a test of its own makes."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[[], Terminal]]:
    """Opens terminals in a checkout that is not this one, with a home that is empty."""
    home, checkout = tmp_path / "home", tmp_path / "touchstone"
    home.mkdir()
    checkout.mkdir()
    (checkout / ".venv").symlink_to(VENV)
    (checkout / "rows.jsonl").write_bytes(encode_training_file(generate_rows(3_200, seed=1)))
    terminals: list[Terminal] = []

    def opened(meant: dict[str, str] | None = None) -> Terminal:
        terminals.append(Terminal(checkout, home, meant or {}).__enter__())
        terminals[-1].type(". .venv/bin/activate")
        return terminals[-1]

    yield opened
    for terminal in terminals:
        terminal.__exit__(None, None, None)


def test_the_quickstart_leads_to_a_validator_that_serves_a_customer(desk: Callable[[], Terminal]) -> None:
    chain_port, web_port = free_port(), free_port()
    meant = {
        "127.0.0.1:8545": f"127.0.0.1:{chain_port}",
        "devnet run": f"devnet run --port {chain_port}",
        "devnet fund": f"devnet fund --rpc http://127.0.0.1:{chain_port}",
    }
    first, second, third = desk(meant), desk(meant), desk(meant)
    activate, *rest = [each.text for each in QUICKSTART]
    running = rest.index("touchstone validator run")
    processes = []
    try:
        first.type(activate)
        processes.append(first.start(rest.pop(0)))
        wait_for(f"http://127.0.0.1:{chain_port}/", is_up=lambda status: status == 405)
        for line in rest[: running - 1]:
            said = second.type(line)
            if "validator init" in line:
                second.meant["0xADDRESS"] = re.findall("0x[0-9a-fA-F]{40}", said)[0]
        # Ours listens at a port of its own, and knows the customer's base model under the name that is asked for.
        base_models = json.dumps({"meta-llama/Llama-3.2-1B": EMBEDDED_MODEL})
        second.type(f"export TOUCHSTONE_HTTP__LISTEN=127.0.0.1:{web_port}")
        second.type(f"export TOUCHSTONE_MODEL_WORK__BASE_MODELS='{base_models}'")
        processes.append(second.start(rest[running - 1], log="daemon.log"))
        wait_for(f"http://127.0.0.1:{web_port}/readyz", is_up=lambda status: status == 200)
        for line in rest[running:]:
            said = third.type(line)
        assert "health    ready" in said

        for each in BACKUP:
            third.type(each.text)
        ask_for_a_model(third, second)
        third.meant |= {
            "https://...": f"http://127.0.0.1:{chain_port}",
            "0x...": CONTRACT,
            "--from-block 21000000": "--from-block 0",
            "https://validator.example": f"http://127.0.0.1:{web_port}",
        }
        for each in AUDIT:
            third.type(each.text)
        assert CONTRACT in (third.directory / "audit.html").read_text()
    finally:
        for process in reversed(processes):
            os.kill(process, signal.SIGTERM)


def ask_for_a_model(terminal: Terminal, operators: Terminal) -> None:
    """As the customer's guide has it; there is no miner, so the request waits."""
    create_private(terminal.directory / "payer.pw", "correct horse\n")
    create_keystore(terminal.directory / "payer.json", PAYER, SecretBytes(b"correct horse"))
    operators.type(f"touchstone devnet fund {LocalSigner(PAYER).address} 1")
    (rules,) = re.findall(r"```json\n(.*)\n```", Path("docs/customer.md").read_text())
    (terminal.directory / "rules.json").write_text(rules)
    terminal.type("export TOUCHSTONE_CONFIG=~/validator/validator.toml")
    said = ""
    for each in (each for each in TYPED if each in REQUEST):
        if " show " in each.text:
            terminal.meant["0x..."] = re.findall("0x[0-9a-f]{64}", said)[0]
        said = terminal.type(each.text, answer="y\n")
        if " show " in each.text:
            assert "waiting for a miner" in said


def test_the_other_commands_do_what_the_pages_say(desk: Callable[[], Terminal]) -> None:
    terminal = desk()
    make_store(terminal.directory / "zoo.sqlite")
    for each in [*DESIGN, *PLANTING, *TOURNAMENT]:
        terminal.type(each.text)
    assert json.loads((terminal.directory / "design.json").read_text())["is_sound"]
    for name in ("train.jsonl", "secret.json", "zoo.html"):
        assert (terminal.directory / name).stat().st_size > 0


def test_a_spec_is_calibrated(desk: Callable[[], Terminal]) -> None:
    """With fewer and smaller runs, of a base model that is here."""
    terminal = desk({"meta-llama/Llama-3.2-1B": "embedded", "--rows 1000": "--rows 60 --runs 1"})
    options = f"--profile dev --chain-id 31337 --contract {CONTRACT} --rpc-url http://127.0.0.1:1 --first-block 0"
    terminal.type(f"touchstone validator init . {options} --model embedded --min-reward-wei 1")
    for each in CALIBRATION:
        terminal.type(each.text)


@pytest.mark.parametrize("command", SIMULATIONS, ids=str)
def test_simulations_end_with_a_result(command: Command, desk: Callable[[], Terminal]) -> None:
    terminal = desk()
    shutil.copytree(EMBEDDED_MODEL, terminal.directory / "my-model")
    (terminal.directory / "mine.toml").write_text(toml_blocks("docs/simulator.md")[0])
    rows = terminal.directory / "rows.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:300]))
    # Honest miners need not be paid by every one of these specs: that is a result too.
    said = terminal.type(command.text, statuses=(0, 1))
    assert "everything of this run is in" in said or "journal" in said


def wait_for(url: str, is_up: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - of this machine
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except OSError:
            status = 0
        if is_up(status):
            return
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.2)
