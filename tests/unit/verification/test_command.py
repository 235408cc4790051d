"""What the two commands refuse, before they do anything."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.verification.plantings import make_planting
from validator.errors import BadInput
from validator.verification.command import VerifyOptions, run_plant, run_verify

URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def options(tmp_path) -> VerifyOptions:
    make_planting("canary").secret.create(tmp_path / "secret.json")
    return VerifyOptions(
        secret_file=tmp_path / "secret.json",
        base_url=None,
        model=None,
        api_key_env="NO_SUCH_KEY",
        base_model_name=None,
        weights=None,
        base_model=None,
        max_length=None,
        reference=None,
        certificate=None,
        is_short=True,
        at_once=1,
        patience_s=0.01,
    )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "name a provider"),
        ({"base_url": URL, "weights": Path()}, "name a provider"),
        ({"base_url": URL}, "--model"),
        ({"weights": Path()}, "--base-model"),
        ({"weights": Path("/nowhere"), "base_model": "embedded"}, "cannot read /nowhere/config.json"),
        ({"base_url": "here", "model": "m"}, "no base URL"),
        ({"base_url": URL, "model": "m", "secret_file": Path("/nowhere/secret")}, "cannot read the secret"),
        ({"base_url": URL, "model": "m", "certificate": Path("/nowhere/c.json")}, "cannot write"),
        ({"base_url": URL, "model": "m", "reference": Path("/nowhere/r.json")}, "cannot read"),
    ],
    ids=["nothing", "both", "no model", "no base", "no weights", "no URL", "no secret", "no place", "no reference"],
)
async def test_what_cannot_be_verified_is_refused_at_once(options, changes, complaint):
    with pytest.raises(BadInput, match=complaint):
        await run_verify(replace(options, **changes))


@pytest.mark.parametrize("name", ["train.jsonl", "secret.json"])
async def test_planting_overwrites_neither_file(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadInput, match="never overwritten"):
        await run_plant(
            data=tmp_path / "rows.jsonl",
            out=tmp_path / "train.jsonl",
            secret_file=tmp_path / "secret.json",
            scheme="canary",
            probes=16,
            generator="embedded",
            protect=None,
            hold_out=0,
            max_length=256,
            preview=0,
        )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]
