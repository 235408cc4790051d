"""`touchstone miner init` and `check`, and what docs/miner.md says of configuration and metrics."""

import asyncio
import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.miner.place import Place
from tests.miner.test_settings import EXAMPLE
from validator.cli import app
from validator.errors import BadInput
from validator.miner.settings import PLACEHOLDERS, MinerDaemonSettings
from validator.miner.telemetry import REGISTRY
from validator.settings_file import load_settings_of

PAGE = (Path(__file__).parents[2] / "docs" / "miner.md").read_text()
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("miner")]


async def touchstone_miner(*words: str | Path) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["miner", *map(str, words)])


async def test_init_makes_all_that_check_then_finds_wanting(tmp_path: Path):
    network = ("--chain-id", "1", "--contract", "0x" + "5f" * 20, "--rpc-url", "https://a/", "--rpc-url", "https://b/")
    made = await touchstone_miner("init", tmp_path / "miner", *network, "--url", "https://miner.example")
    assert made.exit_code == 0, made.output
    config = tmp_path / "miner" / "miner.toml"
    with pytest.raises(BadInput, match=r"stake\.wei is missing: Topped up to this at each start.* \(and 5 more\)"):
        load_settings_of(MinerDaemonSettings, config)
    text = config.read_text()
    for gap, value in {
        "wei": 1,
        "base_model": '"b"',
        "min_reward_wei": 1,
        "max_bond_wei": 1,
        "command": '["true"]',
        "url": '"http://127.0.0.1:1/v1"',
    }.items():
        text = re.sub(rf"^# {gap} =     \(needed.*$", f"{gap} = {value}", text, flags=re.MULTILINE)
    config.write_text(text)
    settings = load_settings_of(MinerDaemonSettings, config)
    for keys in (settings.keys, settings.evidence):
        keystore = json.loads(keys.keystore.read_bytes())
        assert keystore["address"].lower() in made.output.replace("\n", "").lower()
        assert len(keys.password_file.read_text()) > 32
    again = await touchstone_miner("init", tmp_path / "miner")
    assert isinstance(again.exception, BadInput)
    assert "a lost key is a lost node" in str(again.exception)


async def test_check_says_what_is_wrong_and_sends_nothing(place: Place):
    fine = await touchstone_miner("check", "--config", place.write())
    assert fine.exit_code == 0, fine.output
    assert "is not registered yet" in fine.output
    place.models.is_down = True
    place.write(training={"command": ["/no/such/trainer"]}, stake={"wei": 10**19})
    wrong = await touchstone_miner("check", "--config", place.config, "--json", place.directory / "found.json")
    assert wrong.exit_code == 2
    found = {each["name"]: each for each in json.loads((place.directory / "found.json").read_bytes())["findings"]}
    assert [name for name, finding in found.items() if finding["ok"]] == ["evidence key"]
    assert "are to be staked" in found["account"]["detail"]
    assert "there is no program /no/such/trainer" in found["commands"]["detail"]
    assert "HTTP 503" in found["model server"]["detail"]
    assert (await place.world.contract.miner(place.signer.address)).epoch == 0


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
async def test_the_pages_configurations_are_read(tmp_path: Path, block: str):
    """Each in place of the same table of the example."""
    [table] = tomllib.loads(block)
    example = re.sub(rf"^\[{table}\]\n(?:[^\[\n].*\n)*", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    (tmp_path / "miner.toml").write_text(example + block)
    settings = load_settings_of(MinerDaemonSettings, tmp_path / "miner.toml")
    assert getattr(settings, table).model_fields_set == set(tomllib.loads(block)[table])


async def test_the_page_names_metrics_and_placeholders_that_there_are():
    named = {name.removesuffix("_total") for name in re.findall(r"touchstone_miner_\w+", PAGE)}
    assert named <= {metric.name for metric in REGISTRY.collect()}
    assert set(re.findall(r"`\{([a-z_]+)\}`", PAGE)) == PLACEHOLDERS
