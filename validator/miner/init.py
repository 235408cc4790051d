"""`touchstone miner init`: a directory with everything that a miner must have before it can be funded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from validator.edges.key_files import create_private
from validator.miner.settings import MinerDaemonSettings
from validator.operator.init import check_values, create_key, make_room, write_config

CONFIG = "miner.toml"
KEYS = {"keys": ("keystore.json", "keystore-password"), "evidence": ("evidence.json", "evidence-password")}
"""By their table: the keystore and the file with its password."""


def create_miner(directory: Path, values: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Two new keys and a configuration with `values` by table; what a person does now.

    BadInput if any of the files is there.
    """
    make_room(directory, (CONFIG, *(name for names in KEYS.values() for name in names)))
    check_values(MinerDaemonSettings, values)
    addresses = [create_key(directory / keystore, directory / password) for keystore, password in KEYS.values()]
    here = {name: {"keystore": keystore, "password_file": password} for name, (keystore, password) in KEYS.items()}
    here["state"] = {"directory": "state"}
    tables = {name: {**values.get(name, {}), **here.get(name, {})} for name in MinerDaemonSettings.model_fields}
    create_private(directory / CONFIG, write_config(MinerDaemonSettings, "miner", tables))
    config = directory / CONFIG
    return [
        f"the account {addresses[0]}, the evidence key {addresses[1]} and {config} are in {directory}",
        "1. Back up both keystores and their passwords, not all in one place: nobody can restore them.",
        f"2. Fill in what {config} still lacks; docs/miner.md has examples for training and serving.",
        f"3. Send ether for the stake and for gas to {addresses[0]}. The evidence key needs none.",
        f"4. touchstone miner check --config {config}",
        f"5. touchstone miner run --config {config}",
    ]
