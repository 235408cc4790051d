"""The systemd units: systemd's own reading and score of them, and the command that they run."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from tests.deploy.tools import DEPLOY, broken, complaints
from validator.cli import app
from validator.health.service import WEDGED_S
from validator.miner.hooks import GRACE_SECONDS
from validator.miner.settings import MinerDaemonSettings
from validator.operator.init import CONFIG, KEYSTORE, PASSWORD, SEED
from validator.settings_file import load_settings, load_settings_of

VALIDATOR, MINER = (DEPLOY / "systemd" / f"touchstone-{name}.service" for name in ("validator", "miner"))
UNITS = pytest.mark.parametrize("unit", [VALIDATOR, MINER], ids=["validator", "miner"])
MOST_EXPOSED = {VALIDATOR.name: 13, MINER.name: 17}
"""Tenths, of 100: what is left is the network, which it lives by, and PyTorch's needs, which the unit names; a miner
has port 443 and a GPU too.
"""
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


@UNITS
def test_systemd_takes_the_unit(tmp_path: Path, unit: Path):
    assert verify(unit, tmp_path) == ""


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
    assert verify(broken(VALIDATOR, old, new, tmp_path / "unit"), tmp_path / "root") != ""


def exposed(unit: Path) -> str:
    threshold = f"--threshold={MOST_EXPOSED[unit.name]}"
    return complaints("systemd-analyze", "security", "--offline=true", threshold, unit)


@UNITS
def test_systemd_finds_little_exposed(unit: Path):
    assert exposed(unit) == ""


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
    assert exposed(broken(VALIDATOR, old, new, tmp_path)) != ""


def test_systemd_sees_what_is_exposed_of_a_miner(tmp_path: Path):
    assert exposed(broken(MINER, "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n", "", tmp_path)) != ""


@UNITS
def test_the_unit_runs_a_command_that_there_is(unit: Path):
    (line,) = values(unit, "ExecStart")
    _, *words, option, _ = line.split()
    command = get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    assert option in {name for parameter in command.params for name in parameter.opts}


def test_the_unit_and_its_configuration_mean_the_same_credentials():
    given = {line.split(":")[0] for line in values(VALIDATOR, "LoadCredential")}
    assert given == {CONFIG, KEYSTORE, PASSWORD, SEED}
    keys = load_settings(DEPLOY / "config" / "subnet-evm.toml").keys
    assert (keys.keystore, keys.password_file, keys.master_seed_file) == tuple(
        DEPLOY / "config" / name for name in (KEYSTORE, PASSWORD, SEED)
    )
    assert f"--config %d/{CONFIG}" in values(VALIDATOR, "ExecStart")[0]


def test_the_miners_unit_and_its_configuration_mean_the_same_credentials():
    given = {line.split(":")[0] for line in values(MINER, "LoadCredential")}
    settings = load_settings_of(MinerDaemonSettings, DEPLOY / "config" / "miner.toml")
    keys = (settings.keys, settings.evidence)
    assert given == {
        "miner.toml",
        *(path.name for each in keys for path in (each.keystore, each.password_file) if path),
    }
    assert "--config %d/miner.toml" in values(MINER, "ExecStart")[0]


@UNITS
def test_the_daemon_ends_a_wedge_itself_and_says_where_before_systemd_does(unit: Path):
    (watchdog,) = values(unit, "WatchdogSec")
    assert int(watchdog.removesuffix("min")) * 60 > WEDGED_S
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "RestartPreventExitStatus") == ["2"]


def test_systemd_waits_for_a_training_command_to_end():
    (stop,) = values(MINER, "TimeoutStopSec")
    assert int(stop.removesuffix("s")) > 2 * GRACE_SECONDS


def test_systemd_makes_the_user(tmp_path: Path):
    users = DEPLOY / "systemd" / "touchstone.sysusers"
    (tmp_path / "etc").mkdir()
    assert complaints("systemd-sysusers", f"--root={tmp_path}", users) == ""
    lines = [line.split(":") for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    homes = {line[0]: line[5] for line in lines}
    for unit in (VALIDATOR, MINER):
        (user,) = values(unit, "User")
        assert homes[user] == f"/var/lib/{values(unit, 'StateDirectory')[0]}"
