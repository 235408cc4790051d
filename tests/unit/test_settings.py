"""Configuration: where a value comes from, and the one line for every mistake (O2, complaint 19)."""

import random
import re
from pathlib import Path

import pytest

from validator.config import PRODUCTION, PROFILES
from validator.errors import BadInput
from validator.marks.schemes import SCHEMES
from validator.plan.terms import MAX_PROBES, MIN_PROBES
from validator.settings import Settings
from validator.settings_file import load_settings

CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
DEV = f"""\
[network]
profile = "dev"
chain_id = 31337
contract = "{CONTRACT}"
rpc_urls = ["http://user:hunter2@127.0.0.1:8545/hunter2"]
first_block = 0

[keys]
key_file = "key"
master_seed_file = "/seeds/seed"

[state]
directory = "state"

[generator]
model = "embedded"

[tasks]
min_reward_wei = 1_000
"""
PRODUCTION_TEXT = (
    DEV.replace('"dev"', '"production"')
    .replace("31337", "1")
    .replace('hunter2"]', 'hunter2", "https://other.example/key"]')
    .replace('key_file = "key"', 'keystore = "keystore.json"\npassword_file = "password"')
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Elsewhere than where the command runs."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def loaded(folder: Path, text: str = DEV, **flags: dict[str, object]) -> Settings:
    path = folder / "validator.toml"
    path.write_text(text)
    return load_settings(path, flags)


def mistake(folder: Path, text: str) -> str:
    with pytest.raises(BadInput) as error:
        loaded(folder, text)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(folder / "validator.toml"), "validator.toml")


def test_a_file_becomes_settings(folder: Path) -> None:
    settings = loaded(folder)
    assert (settings.network.chain_id, settings.network.contract, settings.tasks.min_reward_wei) == (
        31337,
        CONTRACT,
        1_000,
    )
    assert (settings.tasks.in_flight, settings.http.address, settings.log.level) == (8, ("127.0.0.1", 9879), "info")
    assert settings.profile == PROFILES["dev"]


def test_paths_are_taken_from_where_the_file_is(folder: Path) -> None:
    settings = loaded(folder)
    assert settings.keys.key_file == folder / "key"
    assert settings.keys.master_seed_file == Path("/seeds/seed")
    assert settings.state.directory == folder / "state"
    assert settings.state.journal_place == folder / "state" / "journal.sqlite"


@pytest.mark.parametrize(
    "written",
    [
        '[model_work]\nbase_models = { tiny = "models/tiny", "org/big" = "/big" }',
        '[model_work.base_models]\ntiny = "models/tiny"\n"org/big" = "/big"',
    ],
)
def test_base_models_are_directories_by_name(folder: Path, written: str) -> None:
    settings = loaded(folder, f"{DEV}\n{written}\n")
    assert settings.model_work.base_models == {"tiny": folder / "models" / "tiny", "org/big": Path("/big")}


def test_a_journal_may_be_on_a_server(folder: Path) -> None:
    settings = loaded(
        folder, DEV.replace("[generator]", 'journal = "postgresql://me:hunter2@db/touchstone"\n[generator]')
    )
    assert settings.state.journal_place == "postgresql://me:hunter2@db/touchstone"
    assert "hunter2" not in repr(settings)


def test_flags_win_over_the_environment_and_that_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DEV + '\n[log]\nlevel = "debug"\nformat = "console"\n'
    assert loaded(folder, text).log.level == "debug"
    monkeypatch.setenv("TOUCHSTONE_LOG__LEVEL", "warning")
    monkeypatch.setenv("TOUCHSTONE_TASKS__IN_FLIGHT", "3")
    settings = loaded(folder, text)
    assert (settings.log.level, settings.log.format, settings.tasks.in_flight) == ("warning", "console", 3)
    assert loaded(folder, text, log={"level": "error"}).log.level == "error"
    monkeypatch.setenv("TOUCHSTONE_NETWORK__RPC_URLS", '["http://one", "http://two"]')
    assert [url.get_secret_value() for url in loaded(folder).network.rpc_urls] == ["http://one", "http://two"]


def test_a_url_shows_its_host_alone(folder: Path) -> None:
    """H5: providers put access keys into paths, and people put passwords before hosts."""
    settings = loaded(folder)
    [url] = settings.network.rpc_urls
    assert url.get_secret_value() == "http://user:hunter2@127.0.0.1:8545/hunter2"
    for shown in (repr(settings), str(settings), str(url), f"{url!r}", settings.model_dump_json()):
        assert "hunter2" not in shown
        assert "127.0.0.1" in shown


def test_settings_cannot_be_changed(folder: Path) -> None:
    settings = loaded(folder)
    with pytest.raises(ValueError, match="frozen"):
        settings.tasks.in_flight = 9  # type: ignore[misc]


def test_production_keeps_its_floors(folder: Path) -> None:
    """O7: what makes a block final, and how long states last, is nobody's to choose."""
    profile = loaded(folder, PRODUCTION_TEXT).profile
    assert (profile.finality_depth, profile.floors, profile.durations) == (
        None,
        PRODUCTION.floors,
        PRODUCTION.durations,
    )
    text = PRODUCTION_TEXT.replace("first_block = 0", "first_block = 0\nfinality_depth = 0")
    assert "line 7: [network] has no key finality_depth" in mistake(folder, text)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("chain_id = 31337", "chain_ids = 31337", "line 3: [network] has no key chain_ids; did you mean chain_id?"),
        ("chain_id = 31337", "", "line 1: network.chain_id is missing: The chain that the nodes must be on."),
        ("chain_id = 31337", "chain_id = true", "line 3: network.chain_id: this takes a whole number"),
        ("chain_id = 31337", "chain_id = 1.5", "line 3: network.chain_id: this takes a whole number"),
        ("chain_id = 31337", 'chain_id = "one"', "line 3: network.chain_id: Input should be a valid integer"),
        ("chain_id = 31337", "chain_id = -1", "line 3: network.chain_id: Input should be greater than or equal to 1"),
        ("chain_id = 31337", "chain_id = 9" + "0" * 30, "line 3: network.chain_id: Input should be less than"),
        ("chain_id = 31337", "chain_id = 1", "line 2: network.profile: dev is for the chain ids 1337, 31337"),
        ("0x5Fb", "0x5fb", "line 4: network.contract: this takes an address"),
        (CONTRACT, CONTRACT[:-1], "line 4: network.contract: this takes an address"),
        ('["http', '["ftp', "line 5: network.rpc_urls[0]: this takes a URL such as https://host/path"),
        ("8545", "99999", "line 5: network.rpc_urls[0]: this takes a URL such as https://host/path"),
        ('["http://user', '"http://user', "line 5: this is no TOML"),
        ("[state]", "[stat]", "there is no table or key stat; did you mean state?"),
        ("[state]", "[[state]]", "line 12: state is a table: write [state], and its keys below"),
        ("[network]", "state = 5\n[network]", "this is no TOML: Cannot"),
        (
            'key_file = "key"',
            "",
            "line 8: keys: exactly one of keystore, key_file and remote_signer is needed, not none",
        ),
        ("[state]", 'keystore = "k"\n[state]', "line 8: keys: exactly one of keystore, key_file and remote_signer"),
        ('key_file = "key"', 'keystore = "k"', "line 9: keys.keystore: a keystore needs password_file or"),
        ("[state]", 'password_file = "p"\n[state]', "line 12: keys.password_file: a password is for a keystore"),
        (
            'key_file = "key"',
            'remote_signer = "http://s"',
            "line 9: keys.remote_signer: a remote signer needs the address",
        ),
        ("key_file =", "private_key =", "line 9: [keys] has no key private_key; there are keystore, password_file"),
        ("1_000", "0", "line 19: tasks.min_reward_wei: Input should be greater than or equal to 1"),
        ("1_000", "7" + "0" * 40, "line 19: tasks.min_reward_wei: Input should be less than or equal to"),
        (
            "min_reward_wei = 1_000",
            "min_reward = 1",
            "line 19: [tasks] has no key min_reward; did you mean min_reward_wei?",
        ),
        ("min_reward_wei = 1_000", "", "line 18: tasks.min_reward_wei is missing: The least reward of a task"),
        ("1_000", "1_000\nprobes = 65", "line 20: tasks.probes: Input should be less than or equal to 64"),
        ("1_000", "1_000\nin_flight = 0", "line 20: tasks.in_flight: Input should be greater than or equal to 1"),
        ("1_000", '1_000\nscheme = "secret"', "line 20: tasks.scheme: Input should be 'canary', "),
        ("1_000", '1_000\n[http]\nlisten = "9879"', "line 21: http.listen: this takes host:port"),
        ("1_000", "1_000\n[miners]\nports = 443", "line 21: miners.ports: this takes a list in square brackets"),
        ("1_000", "1_000\n[miners]\nports = [443, 0]", "line 21: miners.ports[1]: Input should be greater"),
        ("1_000", '1_000\n[model_work]\nmode = "ray"', 'line 21: model_work.mode: mode "ray" and ray_address belong'),
        ("1_000", '1_000\n[model_work]\nopenai_url = "x"', "line 21: model_work.openai_url: this takes a URL"),
        ("1_000", "1_000\n[model_work]\nmemory_bytes = 1024", "line 21: model_work.memory_bytes: Input should be gre"),
        ("1_000", '1_000\n[model_work]\nbase_models = ["x"]', "line 21: model_work.base_models: this is a table: "),
        ('"embedded"', '" "', "line 16: generator.model: this takes a directory"),
        ('model = "embedded"', "", "line 15: generator.model: a language model is needed, or openings_url"),
        (
            'model = "embedded"',
            'openings_url = "https://host/v1"\nopenings_model = "m"',
            "line 15: generator.model: a language model is needed, or the scheme canary-openings",
        ),
        (
            '"embedded"',
            '"embedded"\nopenings_url = "https://host/v1"',
            "line 17: generator.openings_url: openings_url and openings_model belong together",
        ),
        (
            '"embedded"',
            '"embedded"\nopenings_url = "host"\nopenings_model = "m"',
            "line 17: generator.openings_url: this",
        ),
        (
            '"embedded"',
            '"embedded"\nopenings_key_file = "key"',
            "line 17: generator.openings_key_file: a key is for openings_url, and there is none",
        ),
        ("1_000", '1_000\nscheme = "canary-openings"', "line 20: tasks.scheme: canary-openings needs generator.openi"),
        ("31337", "= 31337", "line 3: this is no TOML: Invalid value"),
        ("31337", '31337\n"a\\nb" = 1', "[network] has no key 'a\\nb'"),
        ("[generator]", "[generator", "line 15: this is no TOML: Expected ']'"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_way_out(folder: Path, old: str, new: str, expected: str) -> None:
    """O2, complaint 19."""
    assert old in DEV
    text = DEV.replace(old, new, 1)
    message = mistake(folder, text)
    assert message.startswith("validator.toml, line ")
    assert expected in message
    assert "hunter2" not in message


@pytest.mark.parametrize("table", ["network", "keys", "state", "generator", "tasks"])
def test_a_missing_table_is_named(folder: Path, table: str) -> None:
    """O2: there is no silent default for money, key or chain."""
    parts = DEV.split("\n\n")
    text = "\n\n".join(part for part in parts if not part.startswith(f"[{table}]"))
    assert f"the table [{table}] is missing: " in mistake(folder, text)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (', "https://other.example/key"', "", "production needs the URLs of two nodes"),
        ("https://other.example/key", "http://user:hunter2@127.0.0.1:8545/hunter2", "needs the URLs of two nodes"),
        (
            'keystore = "keystore.json"\npassword_file = "password"',
            'key_file = "key"',
            "a bare key is for the dev profile",
        ),
        ('password_file = "password"', "", "a keystore needs password_file or password_credential"),
        ('password_file = "password"', 'password_credential = "../x"', "String should match pattern"),
    ],
)
def test_production_asks_for_more(folder: Path, old: str, new: str, expected: str) -> None:
    """R3, H1, complaint 18."""
    assert old in PRODUCTION_TEXT
    assert expected in mistake(folder, PRODUCTION_TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TOUCHSTONE_NETWORK__CHAIN_ID", "hunter2", "network.chain_id: Input should be a valid integer"),
        ("TOUCHSTONE_NETWORK__CHIAN_ID", "hunter2", "network has no key chian_id; did you mean chain_id?"),
        ("TOUCHSTONE_NETWROK__CHAIN_ID", "1", "there is no table netwrok; did you mean network?"),
        ("TOUCHSTONE_NETWORK__RPC_URLS", "http://hunter2", "this takes a list as JSON"),
        ("TOUCHSTONE_NETWORK__RPC_URLS", '["hunter2', "tables and lists are given as JSON"),
        ("TOUCHSTONE_TASKS__PROBES", "65", "tasks.probes: Input should be less than or equal to 64"),
        ("TOUCHSTONE_NETWORK", "hunter2", "tables and lists are given as JSON"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """O2."""
    monkeypatch.setenv(variable, value)
    message = mistake(folder, DEV)
    assert message.startswith("the environment")
    assert expected in message
    assert "hunter2" not in message


def test_other_variables_of_the_same_prefix_are_nobodys_business(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_DATA", "/data")
    assert loaded(folder).network.chain_id == 31337


def test_a_missing_file_is_one_line_with_the_way_out(tmp_path: Path) -> None:
    """Complaint 19."""
    with pytest.raises(BadInput, match=r"cannot read .*: No such file or directory; `touchstone validator init`"):
        load_settings(tmp_path / "validator.toml")
    (tmp_path / "latin").write_bytes(DEV.encode() + b"\n# \xff")
    with pytest.raises(BadInput, match="line 21: this is not UTF-8"):
        load_settings(tmp_path / "latin")
    (tmp_path / "huge").write_bytes(b"#" * (1 << 21))
    with pytest.raises(BadInput, match="is longer than"):
        load_settings(tmp_path / "huge")


def test_the_choices_are_those_of_the_parts_that_they_are_for() -> None:
    schema = Settings.model_json_schema()["$defs"]["TaskSettings"]["properties"]
    assert set(schema["scheme"]["anyOf"][0]["enum"]) == set(SCHEMES)
    assert (schema["probes"]["minimum"], schema["probes"]["maximum"]) == (MIN_PROBES, MAX_PROBES)
    profiles = Settings.model_json_schema()["$defs"]["NetworkSettings"]["properties"]["profile"]["enum"]
    assert set(profiles) == set(PROFILES)


def test_whatever_is_in_the_file_there_are_settings_or_one_line(folder: Path) -> None:
    """O2: a file with characters changed, lines lost, doubled or swapped."""
    draw = random.Random(0)
    refused = 0
    for _ in range(400):
        lines = DEV.splitlines()
        place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        match draw.randrange(4):
            case 0:
                del lines[place]
            case 1:
                lines.insert(other, lines[place])
            case 2:
                lines[place], lines[other] = lines[other], lines[place]
            case 3 if lines[place]:
                at = draw.randrange(len(lines[place]))
                lines[place] = lines[place][:at] + draw.choice('"[]=.-_x0\\\x00\x7f\n#é') + lines[place][at + 1 :]
        try:
            loaded(folder, "\n".join(lines))
        except BadInput as error:
            message = str(error)
            assert re.match(rf"{folder}/validator\.toml, line \d+: ", message), message
            assert message.isprintable()
            assert "user:" not in message
            refused += 1
    assert 100 < refused < 400
