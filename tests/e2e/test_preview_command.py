"""`touchstone task preview` as a customer runs it: what may be altered, before anything is asked for or sent."""

import json
from pathlib import Path

import pytest

from tests.e2e.command import run_touchstone
from validator.base_model.grammar import generate_rows
from validator.protocol.commitment import Row
from validator.protocol.wire import encode_training_file

ROWS = [*generate_rows(300, seed=1), *(Row(f"Count {i}", f"{i} of them were seen by Ann there.") for i in range(100))]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_bytes(encode_training_file(ROWS))
    return path


def test_a_customer_sees_what_may_be_altered_and_what_each_rule_costs(data: Path) -> None:
    finished = run_touchstone("task", "preview", data, "--examples", "400")
    assert finished.returncode == 0, finished.stderr
    assert "canary, 16 probes: the first 4 words of the response are replaced by drawn ones" in finished.stdout
    assert "taken           yes" in finished.stdout
    assert "⟦7⟧ of them were seen by ⟦Ann⟧ there." in finished.stdout
    body = run_touchstone("task", "preview", data, "--scheme", "canary+coverage", "--examples", "0", "--json", "-")
    preview = json.loads(body.stdout)
    assert (preview["rows"], preview["markable"], preview["coverable"]) == (400, 400, 400)
    strict, without = preview["markable_strict"], preview["markable_without"]
    assert strict < 300
    assert without["numbers"] >= strict + 100
    assert set(without) == {"numbers", "code", "names", "json", "urls", "formulae"}
    assert preview["free_words"] < preview["words"] == sum(row.response.count(" ") + 1 for row in ROWS)


def test_what_a_customer_forbids_is_left_alone_and_said(data: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"openings": true, "names": false, "patterns": ["seen|were"]}')
    finished = run_touchstone("task", "preview", data, "--protect", rules, "--examples", "400", "--json", "-")
    preview = json.loads(finished.stdout)
    assert preview["rules"]["patterns"] == ["seen|were"]
    assert "⟦7⟧ of them ⟦were⟧ ⟦seen⟧ by Ann there." in preview["examples"]
    assert preview["markable"] == preview["markable_strict"]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ('{"patterns": ["(a"]}', "rules.json: '(a' is no regular expression of RE2"),
        ('{"name": false}', "rules.json: the rules are a JSON object with some of numbers, code"),
        (None, "rules.json: No such file or directory"),
    ],
)
def test_wrong_rules_are_one_line_and_exit_status_2(
    data: Path, tmp_path: Path, rules: str | None, expected: str
) -> None:
    place = tmp_path / "rules.json"
    if rules is not None:
        place.write_text(rules)
    finished = run_touchstone("task", "preview", data, "--protect", place)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert expected in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1
