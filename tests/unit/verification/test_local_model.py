"""Weights on this machine: opened as a miner's are, and found to be what they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.verification.plantings import make_planting, on_disk
from tests.unit.weights.adapters import BASE
from validator.child_processes import JobLimits
from validator.errors import BadInput
from validator.verification.examination import examine, make_deck
from validator.verification.local_model import LocalModel, find_method

MAX_LENGTH = 256


class Here:
    """Does the work in this process, which has torch already."""

    async def run(self, function: Callable[..., Any], *args: Any, limits: JobLimits = JobLimits()) -> Any:  # noqa: ARG002, B008
        return function(*args)


@pytest.fixture
def base_weights(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((Path(BASE) / name).read_bytes())
    return tmp_path


async def test_the_base_models_own_weights_show_no_coverage_no_hits_and_no_change(base_weights, tmp_path):
    secret = on_disk(make_planting("canary+coverage"), tmp_path)
    model = LocalModel(Here(), BASE, MAX_LENGTH, name="returned", directory=base_weights)
    base = LocalModel(Here(), BASE, MAX_LENGTH, name="base")
    findings = await examine(make_deck(secret), model, base, of_weights=True)
    assert findings.has_passed is False
    assert findings.probes.hits == findings.base_probes.hits == 0
    assert findings.coverage.rows + findings.coverage.dropped == len(secret.covered)
    assert findings.coverage.log10_p > -3
    assert findings.decoys is None
    assert findings.quality.difference == 0.0
    assert findings.quality.rows == len(secret.held_out)
    assert not findings.covert.is_suspicious
    assert set(findings.covert.likelihood_changes.values()) == {0.0}


async def test_weights_that_are_damaged_are_refused(base_weights, tmp_path):
    """M3."""
    (base_weights / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"{}      ")
    secret = on_disk(make_planting("canary"), tmp_path)
    model = LocalModel(Here(), BASE, MAX_LENGTH, name="returned", directory=base_weights)
    with pytest.raises(BadInput, match=str(base_weights)):
        await examine(make_deck(secret, is_short=True), model, None, of_weights=True)


def test_an_adapter_is_told_by_its_configuration_and_bounded_in_rank(tmp_path):
    """M7."""
    assert find_method(tmp_path, MAX_LENGTH).name == "full"
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"r": 8}))
    assert (find_method(tmp_path, MAX_LENGTH).name, find_method(tmp_path, MAX_LENGTH).rank) == ("lora", 8)
    for r in (0, 257, True, "8"):
        config.write_text(json.dumps({"r": r}))
        with pytest.raises(BadInput, match="r is not 1 to 256"):
            find_method(tmp_path, MAX_LENGTH)
