"""An honest reference of a spec, made by real training, and found where the daemon looks for it."""

from pathlib import Path

import pytest

from validator.base_model import EMBEDDED_MODEL_NAME
from validator.base_model.grammar import generate_rows
from validator.coverage.references import References
from validator.errors import BadInput
from validator.operator.calibrate import run_calibrate
from validator.operator.init import create_validator
from validator.plan.spec import TrainingSpec
from validator.protocol.wire import encode_training_file

SPEC = TrainingSpec(EMBEDDED_MODEL_NAME, epochs=6, learning_rate=4e-3, max_length=128)
RUNS = 2


@pytest.fixture
def config(tmp_path: Path) -> Path:
    network = {"profile": "dev", "chain_id": 31337, "contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3"}
    network |= {"rpc_urls": ["http://127.0.0.1:8545"], "first_block": 0}
    values = {"network": network, "keys": {}, "generator": {"model": "embedded"}, "tasks": {"min_reward_wei": 1}}
    return create_validator(tmp_path / "validator", values).config


def test_a_spec_is_calibrated_once_and_its_reference_is_found(config: Path, tmp_path: Path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_bytes(encode_training_file(generate_rows(80, seed=5)))
    run_calibrate(config=config, data=data, rows=60, spec=SPEC, runs=RUNS)
    assert "2 runs on 50% of the rows" in capsys.readouterr().out
    references = References(config.parent / "state" / "references")
    reference = references.find(SPEC.to_json())
    assert reference is not None
    assert [len(reference.at(share)) for share in (1.0, 0.5)] == [RUNS, RUNS]
    assert reference.calibrated_epochs == tuple(range(1, SPEC.epochs + 1))
    rates = [run.trained[0] / sum(run.trained) for run in reference.at(1.0)]
    assert min(rates) > 0.4, "chance is 1 in 8"
    assert references.find(TrainingSpec(EMBEDDED_MODEL_NAME, epochs=7, learning_rate=4e-3).to_json()) is None

    data.unlink()
    with pytest.raises(BadInput, match="cannot read"):
        run_calibrate(config=config, data=data, rows=60, spec=SPEC, runs=RUNS)
