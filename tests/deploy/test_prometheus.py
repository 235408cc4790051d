"""Rules and alerts: legal, each seen firing and silent, each with something to do, and on metrics that exist."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.queries import exported, mistakes, recorded, rules
from tests.deploy.tools import DEPLOY, ROOT, broken, complaints
from validator.health.progress import READY
from validator.operator.directory import LEAST_FREE_BYTES
from validator.settings import HttpSettings

PROMETHEUS = DEPLOY / "prometheus"
ALERTS = {alert["alert"]: alert for alert in rules("alerts")}
RUNBOOK = (ROOT / "docs" / "alerts.md").read_text()


def test_promtool_takes_the_configuration():
    assert complaints("promtool", "check", "config", PROMETHEUS / "prometheus.yml") == ""


def test_every_alert_does_what_its_unit_tests_say():
    assert complaints("promtool", "test", "rules", *sorted((PROMETHEUS / "tests").iterdir())) == ""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("prometheus.yml", "job_name:", "jobname:"),
        ("rules/alerts.yaml", "for: 5m", "for: soon"),
        ("rules/alerts.yaml", "changes(process", "chnges(process"),
        ("rules/recording.yaml", "sum without (phase)", "sum without phase"),
    ],
)
def test_promtool_sees_what_is_wrong(tmp_path: Path, name: str, old: str, new: str):
    copied = shutil.copytree(PROMETHEUS, tmp_path / "copy")
    broken(PROMETHEUS / name, old, new, (copied / name).parent)
    assert complaints("promtool", "check", "config", copied / "prometheus.yml") != ""


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_the_unit_tests_miss_no_alert_that_is_broken(tmp_path: Path, expression: str):
    """All alerts at once that never fire, or always do: for each of them a test fails."""
    copied = shutil.copytree(PROMETHEUS, tmp_path / "copy")
    text = (PROMETHEUS / "rules" / "alerts.yaml").read_text()
    expressions = re.compile(r"^( +expr: ).*(?:\n {10,}.*)*", re.MULTILINE)
    changed, count = expressions.subn(rf"\g<1>{expression}", text)
    assert count == len(ALERTS)
    (copied / "rules" / "alerts.yaml").write_text(changed)
    for path in (copied / "tests").iterdir():
        suite = yaml.safe_load(path.read_text())
        # What is healthy stands first; alerts that always fire are slow, and that is enough to see them.
        suite["tests"] = suite["tests"][:1] if expression == "vector(1)" else suite["tests"][1:]
        path.write_text(yaml.safe_dump(suite))
    said = complaints("promtool", "test", "rules", *sorted((copied / "tests").iterdir()))
    assert set(re.findall(r"alertname: (\w+)", said)) == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: dict):
    name, severity = alert["alert"], alert["labels"]["severity"]
    assert alert["annotations"].keys() == {"summary", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"
    section = re.search(rf"^## {name}\n\n\*(\w+)\.\* .{{60}}", RUNBOOK, re.MULTILINE)
    assert section is not None, f"docs/alerts.md has no section {name} that says what to do"
    assert section[1].lower() == severity


def test_the_runbook_is_about_alerts_that_exist():
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == ALERTS.keys()
    assert {link.lower() for link in re.findall(r"\(#(\w+)\)", RUNBOOK)} <= {name.lower() for name in ALERTS}


def test_limits_are_those_of_the_code():
    assert f"> {READY['oldest_effect']:.0f}" in ALERTS["EffectOverdue"]["expr"]
    assert f"< {LEAST_FREE_BYTES}" in ALERTS["DiskFull"]["expr"]
    assert f":{HttpSettings().address[1]}" in (PROMETHEUS / "prometheus.yml").read_text()


def test_rules_name_only_what_the_code_exports():
    known = recorded(exported())
    found = {
        rule.get("alert", rule.get("record")): mistakes(rule["expr"], known)
        for name in ("recording", "alerts")
        for rule in rules(name)
    }
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "query",
    [
        "touchstone_task",
        "touchstone_verdicts",
        "rate(touchstone_hits[5m])",
        'touchstone_tasks{state="open"}',
        'touchstone_tasks{phase="opened"}',
        'touchstone_tasks{phase!~"planned|shut"}',
        'touchstone_deadline_alarms_total{share="75%"}',
        "sum by (miner) (touchstone_tasks)",
        "sum without (kind) (touchstone_tasks)",
        "touchstone_balance_wei / on (node) touchstone_credit_wei",
        "instance:touchstone_equity:sum",
        'max_over_time(touchstone_rpc_node_healthy{url="x"}[1h:5m])',
    ],
)
def test_a_name_that_nobody_exports_is_seen(query: str):
    assert mistakes(query, recorded(exported())) != []
