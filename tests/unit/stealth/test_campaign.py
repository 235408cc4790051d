"""Cells of the stealth campaign: their names, and what their report says."""

from benchmarks.stealth import cells, report
from tests.unit.stealth.marked import marked_rows
from validator.stealth.battery import measure
from validator.stealth.wording import anchored, gram_frequency


def test_every_cell_has_a_name_of_its_own():
    names = [name for name, _ in cells()]
    assert len(names) == len(set(names)) > 100


def test_the_report_pools_cells_of_a_kind_and_names_what_breaks_the_bar():
    results = {}
    for scheme in ("backdoor", "canary"):
        for seed in range(2):
            rows, marked = marked_rows(scheme, seed)
            figures = measure(rows, marked, None, detectors=[anchored(4), gram_frequency(3)], seed=seed)
            results[f"battery/{scheme}/generated/16 of 300/{seed}"] = {"detectors": figures}
    found = report(results | {"battery/canary/none/16 of 300/0": {"refused": "too few"}})
    assert set(found) == {"battery/backdoor", "battery/canary"}
    worst = found["battery/backdoor"]["worst by AUC"]
    assert (worst["detector"], worst["end"], worst["tasks"], worst["hits"]) == (anchored(4).name, "most", 2, 32)
    assert any(
        one["detector"] == anchored(4).name and one["is_significant"] for one in found["battery/backdoor"]["breaches"]
    )
    assert not any(one["is_significant"] for one in found["battery/canary"]["breaches"])
