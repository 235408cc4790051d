"""The honest reference: its content is its name, and what cannot be estimated from is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.coverage.simulated import World
from validator.coverage.reference import CalibrationRun, Reference, load_reference, save_reference
from validator.errors import BadInput


@pytest.fixture
def reference() -> Reference:
    return World().reference(np.random.default_rng(1))


def test_a_reference_survives_the_disk(reference, tmp_path):
    path = tmp_path / "reference.json"
    save_reference(reference, path)
    assert load_reference(path).id == reference.id
    assert path.read_bytes() == reference.to_json() == load_reference(path).to_json()


def test_the_id_is_of_the_content_in_whatever_order_it_was_measured(reference):
    assert replace(reference, runs=reference.runs[::-1]).id == reference.id
    changed = replace(reference.runs[0], dropped=reference.runs[0].dropped + 1)
    for other in (
        replace(reference, data="other rows"),
        replace(reference, spec="{}"),
        replace(reference, runs=(changed, *reference.runs[1:])),
    ):
        assert other.id != reference.id


def test_runs_are_found_by_share_and_epochs(reference):
    assert len(reference.at(1.0)) == len(reference.at(0.5)) == 5
    assert [run.epochs for run in reference.at(1.0, 2)] == [2]
    assert reference.calibrated_epochs == (1, 2, 3)
    assert (reference.k, reference.partial_share) == (8, 0.5)


def without(reference: Reference, share: float, kept: int) -> tuple[CalibrationRun, ...]:
    return tuple(run for run in reference.runs if run.share != share) + reference.at(share)[:kept]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: without(r, 1.0, 1), "at least 2 runs at share 1, not 1"),
        (lambda r: without(r, 0.5, 1), "at least 2 runs at share 0.5, not 1"),
        (lambda r: without(r, 0.5, 0), "one other share"),
        (lambda r: (*r.runs, replace(r.runs[0], share=0.25)), "one other share"),
        (lambda r: (*r.runs, replace(r.runs[0], trained=(1, 2))), "one number of candidates"),
        (lambda r: (*r.runs, replace(r.runs[0], trained=(0,) * 8)), "no row that was trained on"),
        (lambda _r: (), "one other share"),
        (lambda r: (replace(r.runs[0], others=(-1, *[0] * 7)), *r.runs[1:]), "counts from 0 up"),
        (lambda r: (replace(r.runs[0], trained=(2**60,) * 8), *r.runs[1:]), "counts from 0 up"),
        (lambda r: tuple(replace(run, share=2 * run.share) for run in r.runs), "one other share"),
    ],
)
def test_runs_that_allow_no_estimate_are_refused(reference, change, problem):
    with pytest.raises(BadInput, match=problem):
        replace(reference, runs=change(reference))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"base_model":"x","runs":"many"}'])
def test_a_file_that_holds_no_reference_is_refused_in_one_line(data, tmp_path):
    (tmp_path / "reference.json").write_bytes(data)
    with pytest.raises(BadInput, match="no coverage reference") as caught:
        load_reference(tmp_path / "reference.json")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*nowhere\.json"):
        load_reference(tmp_path / "nowhere.json")


def test_the_json_is_canonical(reference):
    text = reference.to_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()
