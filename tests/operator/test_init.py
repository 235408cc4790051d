"""A new validator's directory: everything is there, private, and nothing was there before (complaints 17, 19)."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from validator.edges.key_files import load_keystore, load_seed
from validator.errors import BadInput
from validator.operator.init import create_validator, next_steps, write_config
from validator.settings import Settings
from validator.settings_file import load_settings

ADDRESS = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
VALUES: dict[str, dict[str, Any]] = {
    "network": {
        "profile": "production",
        "chain_id": 1,
        "contract": ADDRESS,
        "rpc_urls": ["https://one.example/key", "https://two.example/key"],
        "first_block": 17,
    },
    "keys": {"cold_address": None},
    "generator": {"model": "embedded"},
    "tasks": {"min_reward_wei": 10**18},
}


def test_what_init_writes_is_what_the_daemon_loads(tmp_path: Path):
    new = create_validator(tmp_path / "new", VALUES)
    settings = load_settings(new.config)
    assert (settings.network.chain_id, settings.network.first_block) == (1, 17)
    assert [url.get_secret_value() for url in settings.network.rpc_urls] == VALUES["network"]["rpc_urls"]
    keys = settings.keys
    assert keys.keystore is not None
    assert keys.password_file is not None
    assert load_keystore(keys.keystore, keys.password_file).address == new.address
    assert len(load_seed(keys.master_seed_file).reveal()) == 32


def test_everything_with_a_secret_is_its_owners_alone(tmp_path: Path):
    """K5."""
    new = create_validator(tmp_path / "new", VALUES)
    files = list(new.directory.iterdir())
    assert {path.name for path in files} == {"validator.toml", "keystore.json", "keystore-password", "master-seed"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert new.directory.stat().st_mode & 0o777 == 0o700


def test_two_validators_share_nothing(tmp_path: Path):
    """H6."""
    one, two = (create_validator(tmp_path / name, VALUES) for name in ("one", "two"))
    assert one.address != two.address
    for name in ("keystore-password", "master-seed"):
        assert (one.directory / name).read_text() != (two.directory / name).read_text()


@pytest.mark.parametrize("name", ["validator.toml", "keystore.json", "keystore-password", "master-seed"])
def test_nothing_is_written_where_anything_is_already(tmp_path: Path, name: str):
    """Complaint 17."""
    (tmp_path / name).write_text("the only copy")
    with pytest.raises(BadInput, match=f"{name} is there already: nothing was written"):
        create_validator(tmp_path, VALUES)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "the only copy"}


def test_what_nobody_has_said_stays_open(tmp_path: Path):
    """O2: no silent default for money, key or chain; complaint 19: the configuration says what to fill in."""
    new = create_validator(tmp_path, {"network": {"profile": "production"}})
    text = new.config.read_text()
    for key in ("chain_id", "contract", "rpc_urls", "first_block", "min_reward_wei"):
        assert f"# {key} =     (needed: nothing is assumed)" in text
        with pytest.raises(BadInput, match="is missing: "):
            load_settings(new.config)


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("network", "profile", "prod", "network.profile: Input should be 'production' or 'dev'"),
        ("network", "chain_id", 0, "network.chain_id: Input should be greater"),
        ("network", "contract", "0x12", "network.contract: this takes an address"),
        ("network", "rpc_urls", ["ws://node"], "network.rpc_urls.0: this takes a URL"),
        ("tasks", "min_reward_wei", -1, "tasks.min_reward_wei: Input should be greater"),
        ("keys", "cold_address", "me", "keys.cold_address: this takes an address"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(
    tmp_path: Path, table: str, key: str, value: object, expected: str
):
    with pytest.raises(BadInput) as error:
        create_validator(tmp_path, VALUES | {table: VALUES[table] | {key: value}})
    assert expected in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_made_is_bad_input(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot make the directory"):
        create_validator(tmp_path / "file" / "new", VALUES)


def test_every_key_is_explained_and_every_default_is_the_models():
    """The text is made of the settings: with every # taken away from an assignment, it says the same."""
    text = write_config(Settings, "validator", VALUES)
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    shown = tomllib.loads(
        "\n".join(line for line in lines if line[:1] == "[" or (" = " in line and "needed" not in line))
    )
    for name, field in Settings.model_fields.items():
        table: Any = field.annotation
        for key, described in table.model_fields.items():
            assert f"{key} =" in text
            assert " ".join(described.description.split()[:6]) in text.replace("\n# ", " ")
            if not described.is_required() and described.default is not None:
                default = described.default
                assert shown[name][key] == (list(default) if isinstance(default, tuple) else default)


def test_the_next_steps_name_what_must_not_be_lost(tmp_path: Path):
    """Complaint 17."""
    new = create_validator(tmp_path, VALUES)
    steps = "\n".join(next_steps(new))
    for word in (
        "Back up master-seed, keystore.json and keystore-password",
        "no other copy",
        new.address,
        "check --config",
    ):
        assert word in steps
