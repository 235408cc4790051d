"""The systemd units: systemd's own reading and score of them, and the command that they run."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from tests.deploy.tools import DEPLOY, broken, complaints
from validator.cli import app
from validator.daemon import WEDGED_S
from validator.operator.init import CONFIG, KEYSTORE, PASSWORD, SEED
from validator.settings_file import load_settings

UNIT = DEPLOY / "systemd" / "touchstone-validator.service"
MOST_EXPOSED = 13
"""Tenths, of 100: what is left is the network, which it lives by, and PyTorch's needs, which the unit names."""
SYSTEM_UNITS = "usr/lib/systemd/system"


def verify(unit: Path, root: Path) -> str:
    """What systemd says of the unit in a system that has the program, and nothing else but what units stand on."""
    folder = root / SYSTEM_UNITS
    folder.mkdir(parents=True)
    for name in ("sysinit", "basic", "shutdown", "multi-user", "network-online", "time-sync"):
        (folder / f"{name}.target").write_text("[Unit]\nDescription=of the tests\n")
    (folder / unit.name).write_text(unit.read_text())
    program = root / "opt" / "touchstone" / "bin" / "touchstone"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return complaints("systemd-analyze", "verify", f"--root={root}", "--recursive-errors=yes", unit.name)


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def test_systemd_takes_the_unit(tmp_path: Path):
    assert verify(UNIT, tmp_path) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/opt/touchstone/bin/touchstone", "/opt/touchstone/bin/touchston"),
        ("ExecStart=/opt", "ExecStart=opt"),
        ("Type=notify", "Type=notified"),
        ("WatchdogSec=2min", "WatchdogSec=two"),
        ("ProtectSystem=strict", "ProtectSytem=strict"),
        ("Wants=network-online.target", "Requires=network-onlin.target"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@system-services"),
    ],
)
def test_systemd_sees_what_is_wrong(tmp_path: Path, old: str, new: str):
    (tmp_path / "unit").mkdir()
    assert verify(broken(UNIT, old, new, tmp_path / "unit"), tmp_path / "root") != ""


def test_systemd_finds_little_exposed():
    said = complaints("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT)
    assert said == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("User=touchstone\n", ""),
        ("NoNewPrivileges=yes", "NoNewPrivileges=no"),
        ("CapabilityBoundingSet=\n", ""),
        ("ProtectSystem=strict", "ProtectSystem=no"),
        ("SystemCallFilter=@system-service\n", ""),
        ("PrivateUsers=yes\n", ""),
    ],
)
def test_systemd_sees_what_is_exposed(tmp_path: Path, old: str, new: str):
    wrong = broken(UNIT, old, new, tmp_path)
    assert complaints("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", wrong) != ""


def test_the_unit_runs_a_command_that_there_is():
    (line,) = values(UNIT, "ExecStart")
    _, *words, option, _ = line.split()
    command = get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    assert option in {name for parameter in command.params for name in parameter.opts}


def test_the_unit_and_its_configuration_mean_the_same_credentials():
    given = {line.split(":")[0] for line in values(UNIT, "LoadCredential")}
    assert given == {CONFIG, KEYSTORE, PASSWORD, SEED}
    keys = load_settings(DEPLOY / "config" / "subnet-evm.toml").keys
    assert (keys.keystore, keys.password_file, keys.master_seed_file) == tuple(
        DEPLOY / "config" / name for name in (KEYSTORE, PASSWORD, SEED)
    )
    assert f"--config %d/{CONFIG}" in values(UNIT, "ExecStart")[0]


def test_the_daemon_ends_a_wedge_itself_and_says_where_before_systemd_does():
    (watchdog,) = values(UNIT, "WatchdogSec")
    assert int(watchdog.removesuffix("min")) * 60 > WEDGED_S
    assert values(UNIT, "Type") == ["notify"]
    assert values(UNIT, "RestartPreventExitStatus") == ["2"]


def test_systemd_makes_the_user(tmp_path: Path):
    users = DEPLOY / "systemd" / "touchstone.sysusers"
    (tmp_path / "etc").mkdir()
    assert complaints("systemd-sysusers", f"--root={tmp_path}", users) == ""
    (line,) = [
        line for line in (tmp_path / "etc" / "passwd").read_text().splitlines() if line.startswith("touchstone:")
    ]
    assert line.split(":")[5] == "/var/lib/touchstone"
    assert values(UNIT, "User") == ["touchstone"]
