"""The secret: whole, private, never overwritten, and a commitment."""

import hashlib
import json
import stat

import pytest

from tests.unit.verification.plantings import make_planting, on_disk
from validator.errors import BadInput
from validator.verification.secret import read_secret

PLANTINGS = {scheme: make_planting(scheme) for scheme in ("canary", "backdoor", "canary+coverage")}


@pytest.mark.parametrize("scheme", PLANTINGS)
def test_what_is_read_is_what_was_kept(scheme, tmp_path):
    kept, read = PLANTINGS[scheme].secret, on_disk(PLANTINGS[scheme], tmp_path)
    for field in ("seed", "planted", "covered", "training_sha256", "held_out", "sample", "decoys", "beginnings"):
        assert getattr(read, field) == getattr(kept, field), field
    assert read.max_length == kept.max_length == 256
    assert bool(read.covered) == (scheme == "canary+coverage")


def test_the_commitment_is_the_sha256_of_the_file(tmp_path):
    commitment = PLANTINGS["canary"].secret.create(tmp_path / "s")
    assert (
        commitment == hashlib.sha256((tmp_path / "s").read_bytes()).digest() == read_secret(tmp_path / "s").commitment
    )


def test_only_its_owner_reads_it_and_it_shows_nothing_in_a_log(tmp_path):
    """H5, K5."""
    secret = on_disk(PLANTINGS["canary"], tmp_path)
    path = tmp_path / "secret.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret.seed.hex() not in repr(secret)
    path.chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600"):
        read_secret(path)


def test_it_is_never_overwritten_and_leaves_nothing_beside_it(tmp_path):
    """K7."""
    (tmp_path / "secret.json").write_text("mine")
    with pytest.raises(BadInput, match="never overwritten"):
        PLANTINGS["canary"].secret.create(tmp_path / "secret.json")
    assert [path.name for path in tmp_path.iterdir()] == ["secret.json"]
    assert (tmp_path / "secret.json").read_text() == "mine"


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body | {"format": "touchstone-secret/9"},
        lambda body: {key: value for key, value in body.items() if key != "planted"},
        lambda body: body | {"seed": "not hex"},
        lambda body: body | {"decoys": [{"kind": "another", "prompt": "p", "head": None}]},
        lambda body: body | {"coverage_rows": [{"prompt": "p", "response": "r"}]},
        lambda body: [body],
    ],
    ids=["format", "missing", "seed", "decoy", "coverage", "list"],
)
def test_a_file_that_is_no_secret_is_one_clear_line(damage, tmp_path):
    on_disk(PLANTINGS["canary"], tmp_path)
    path = tmp_path / "secret.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(BadInput, match="no secret that `touchstone plant` has written"):
        read_secret(path)


def test_two_plantings_of_one_dataset_differ_and_no_held_out_row_is_in_the_training_file():
    """H6: a fresh seed each time."""
    first, second = PLANTINGS["canary"], make_planting("canary", seed=b"another seed of thirty-two bytes")
    assert first.planted.training_file != second.planted.training_file
    assert not set(first.secret.held_out) & set(first.planted.rows)
    assert set(first.secret.sample) <= set(first.planted.rows) - {mark.row for mark in first.planted.marks}
