"""The example configurations, read by the product's own code; and the keys as each place keeps them."""

import asyncio
import re
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from rlp import encode

from tests.deploy.tools import DEPLOY, broken
from validator.edges.key_files import create_keystore
from validator.edges.keys import SecretBytes, dev_mnemonic_signer
from validator.errors import BadInput
from validator.miner.settings import MinerDaemonSettings
from validator.operator.wallet import load_master_seed, open_signer
from validator.settings import Settings
from validator.settings_file import load_settings, load_settings_of

FILES = sorted([*(DEPLOY / "config").glob("*.toml"), DEPLOY / "kubernetes" / "validator.toml"])
NAMES = [f"{path.parent.name}/{path.stem}" for path in FILES]
SECRET = SecretBytes(bytes(31) + b"\1")
SEED = "5e" * 32


def load(path: Path) -> Settings | MinerDaemonSettings:
    return load_settings_of(MinerDaemonSettings, path) if path.stem == "miner" else load_settings(path)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_product_reads_it(path: Path):
    settings = load(path)
    assert settings.network.profile == ("dev" if path.stem == "local" else "production")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_what_a_stranger_must_replace_is_marked(path: Path):
    for line in path.read_text().splitlines():
        if ("dEaD" in line or ".example" in line) and not line.startswith("#"):
            assert "# " in line
    if path.stem != "local":
        assert len(re.findall("Replace", path.read_text())) >= 2


@pytest.mark.parametrize("path", FILES, ids=NAMES)
@pytest.mark.parametrize(
    ("old", "new"), [("chain_id =", "chainid ="), ("[state]", "[states]"), ("min_reward_wei", "min")]
)
def test_the_product_refuses_what_is_wrong(tmp_path: Path, path: Path, old: str, new: str):
    with pytest.raises(BadInput, match="line"):
        load(broken(path, old, new, tmp_path))


@pytest.mark.parametrize("place", ["systemd", "kubernetes"])
def test_keys_open_as_credentials_and_as_a_mounted_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str):
    """systemd's are files beside the configuration, a Secret's are links into a folder that is swapped.

    The group may read both, and nobody else.
    """
    folder = tmp_path / "keys"
    data = folder / "..data" if place == "kubernetes" else folder
    data.mkdir(parents=True)
    create_keystore(data / "keystore.json", SECRET, SecretBytes(b"password"))
    (data / "keystore-password").write_text("password\n")
    (data / "master-seed").write_text(SEED + "\n")
    for file in list(data.iterdir()):
        file.chmod(0o440)
        if data != folder:
            (folder / file.name).symlink_to(Path("..data") / file.name)
    example = DEPLOY / {"systemd": "config/subnet-evm.toml", "kubernetes": "kubernetes/validator.toml"}[place]
    config = (folder if place == "systemd" else tmp_path) / "validator.toml"
    config.write_text(example.read_text().replace("/run/touchstone", str(folder)))

    async def open_keys() -> str:
        keys = load_settings(config).keys
        await load_master_seed(keys)
        async with open_signer(keys) as signer:
            return signer.address

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert asyncio.run(open_keys()) == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    (data / "master-seed").chmod(0o444)
    with pytest.raises(BadInput, match="read by other users"):
        asyncio.run(open_keys())


def test_the_local_contract_is_the_first_that_the_deployer_makes():
    deployer = bytes.fromhex(dev_mnemonic_signer(0).address[2:])
    first = to_checksum_address(keccak(encode([deployer, 0]))[12:])
    assert load_settings(DEPLOY / "config" / "local.toml").network.contract == first
