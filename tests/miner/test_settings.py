"""A miner's configuration: what is missing or senseless is told by line and key; and which tasks it wants."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import factories as f
from validator.errors import BadInput
from validator.miner.backend import Unacceptable
from validator.miner.hook_backend import check_terms
from validator.miner.job_request import Spec
from validator.miner.settings import AcceptSettings, MinerDaemonSettings, fill
from validator.settings_file import load_settings_of

EXAMPLE = Path(__file__).parents[2] / "deploy" / "config" / "miner.toml"
SPEC = Spec(base_model="b", method="lora", rank=8, epochs=3, learning_rate=1e-4, batch_size=4, max_length=512)


def load(tmp_path: Path, old: str, new: str) -> MinerDaemonSettings:
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "miner.toml"
    path.write_text(text.replace(old, new, 1))
    return load_settings_of(MinerDaemonSettings, path)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("{dataset}", "{datset}", r"training\.command.*there is no \{datset\}; there are base_model, dataset"),
        ("[stake]", "[stakes]", "there is no table or key stakes; did you mean stake"),
        ("https://miner", "http://miner", r"server\.url: https belongs with TLS"),
        ("max_bond_wei", "max_bonds_wei", r"\[accept\] has no key max_bonds_wei; did you mean max_bond_wei"),
        ('load = "vllm"', 'load = "vllm"\nmodel = "mine"', r"serving\.model: without \{name\}"),
        ('keystore = "evidence', 'key_file = "evidence', r"evidence\.password_file: a password is for a keystore"),
        ("environment = {", 'environment = ["A=B"] # {', r"training\.environment: this is a table"),
    ],
)
def test_a_mistake_is_told_by_its_line(tmp_path: Path, old: str, new: str, complaint: str):
    with pytest.raises(BadInput, match=rf"miner\.toml, line \d+: .*{complaint}"):
        load(tmp_path, old, new)


def test_the_environment_wins_and_no_secret_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOUCHSTONE_STAKE__WEI", "7")
    settings = load(tmp_path, "environment = {", 'environment = { HF_TOKEN = "hf_secret" } # {')
    assert settings.stake.wei == 7
    assert settings.training.variables == {"HF_TOKEN": "hf_secret"}
    assert "hf_secret" not in repr(settings)
    assert settings.state.directory.is_absolute()


def test_braces_that_are_no_placeholder_stay():
    words = ("python", "-c", 'print({"a": 1})', "--out={output}/x", "{task}")
    assert fill(words, {"output": "/o", "task": "{output}"}) == [
        "python",
        "-c",
        'print({"a": 1})',
        "--out=/o/x",
        "{output}",
    ]


@pytest.mark.parametrize(
    ("changes", "spec", "rows", "objection"),
    [
        ({}, {}, 100, None),
        ({}, {"method": "full", "rank": None}, 100, "accept.methods"),
        ({}, {"epochs": 11}, 100, "accept.max_epochs"),
        ({}, {"rank": 65}, 100, "accept.max_rank"),
        ({}, {"max_length": 1025}, 100, "accept.max_length"),
        ({}, {}, 1001, "accept.max_rows"),
        ({"reward": 99}, {}, 100, "accept.min_reward_wei"),
        ({"miner_bond": 600}, {}, 100, "accept.max_bond_wei"),
        ({"train_seconds": 60 + 100 * 3 * 2}, {}, 100, "accept.seconds_per_row"),
        ({"train_seconds": 61 + 100 * 3 * 2}, {}, 100, None),
    ],
)
def test_which_tasks_it_wants(changes, spec, rows, objection):
    accept = AcceptSettings(
        base_model="b",
        min_reward_wei=100,
        max_bond_wei=1_000,
        max_rows=1_000,
        max_epochs=10,
        max_length=1_024,
        seconds_per_row=2.0,
    )
    terms = replace(f.make_terms(), reward=100, miner_bond=500, availability_bond=500, train_seconds=10_000)
    ask = (accept, 60, replace(terms, **changes), SPEC.model_copy(update=spec), rows)
    if objection is None:
        check_terms(*ask)
    else:
        with pytest.raises(Unacceptable, match=objection):
            check_terms(*ask)
