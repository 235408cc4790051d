"""The page of a real audit, without a browser: everything in it, nothing from outside, however large the chain is."""

import re
from pathlib import Path

import pytest

from tests.audit.shown import HOSTILE_NAME, audit_everything
from tests.report.tags import Tags, assert_needs_nothing_else
from validator.audit.page import contents, words, write_page
from validator.audit.page.contents import Contents
from validator.audit.report import Report, WeightsTest
from validator.errors import BadInput


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return audit_everything(tmp_path_factory.mktemp("page"))


@pytest.fixture
def render(tmp_path: Path):
    def render(report: Report) -> str:
        write_page(report, tmp_path / "audit.html")
        return (tmp_path / "audit.html").read_text("utf-8")

    return render


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}">')[1].split("\n</section>")[0]


def test_the_page_is_well_formed_and_needs_nothing_else(report, render):
    assert_needs_nothing_else(render(report))


def test_what_a_stranger_wrote_is_text(report, render):
    page = render(report)
    assert HOSTILE_NAME not in page
    assert "&lt;img src=x" in page


def test_every_task_is_there_with_all_that_is_known_of_it(report, render):
    tasks = section(render(report), "tasks")
    for task in report.tasks:
        shown = tasks.split(f'id="task-{task.task_id}"')[1].split('<details class="task"')[0]
        for said in (task.validator, task.miner, task.payer, *(event.transaction for event in task.timeline)):
            assert said in shown
        for event in task.timeline:
            assert f"<b>{event.event}</b>" in shown
        for finding in task.findings:
            assert all(proof.data in shown for proof in finding.proof)
        assert shown.count(" hit</td>") == (task.verdict.hits if task.verdict else 0)


def test_every_finding_is_listed_with_the_party_and_leads_to_its_task(report, render):
    listed = section(render(report), "findings")
    found = [*report.findings, *(finding for task in report.tasks for finding in task.findings)]
    assert {finding.party for finding in found} == {"validator", "node"}
    for finding in found:
        assert finding.check in listed
        assert (f'href="#task-{finding.task_id}"' if finding.task_id else finding.message) in listed


def test_the_headline_says_whether_anything_is_wrong(report, render):
    assert f"{report.summary.severities['mismatch']} mismatches" in render(report)
    honest = report.model_copy(update={"summary": report.summary.model_copy(update={"severities": {}})})
    assert f"Every verdict of {len(report.tasks)} tasks holds" in render(honest)
    away = honest.model_copy(update={"summary": honest.summary.model_copy(update={"is_whole": False})})
    assert "No mismatch, but not all evidence could be fetched" in render(away)
    empty = report.model_copy(update={"tasks": (), "accounts": (), "findings": ()})
    assert "No task was found" in render(empty)
    Tags(render(empty))


def test_other_code_than_ours_is_pointed_out(report, render):
    assert "not this version of the contract" not in render(report)
    assert "not this version of the contract" in render(report.model_copy(update={"is_genuine_code": False}))


def test_accounts_whose_tasks_look_wrong_are_pointed_out(report, render):
    validator = next(account for account in report.accounts if account.role == "validator")
    hits = validator.hits.model_copy(update={"adjusted_p_value": 0.001})
    weights = WeightsTest(tasks=3, probes=48, hits=2, p_value=0.8, adjusted_p_value=0.8)
    strange = validator.model_copy(update={"hits": hits, "weights": weights})
    shown = section(render(report.model_copy(update={"accounts": (strange,)})), "validators")
    assert '<td class="bad">p = 0.001</td>' in shown
    assert '<td class="bad">p = 0.8<br><small>2 of 48 hit in 3 tasks</small></td>' in shown
    rate = validator.challenged
    assert f"{rate.count} of {rate.of}, {words.say_share(rate.low)} to {words.say_share(rate.high)}" in shown
    assert 'class="bad"' not in section(render(report), "validators")


def test_what_a_bundle_says_of_other_models_is_shown(report, render):
    task = next(task for task in report.tasks if task.bundle == "verified")
    verdict = task.verdict.model_copy(update={"base_hits": 3, "weights_hits": 14})
    page = render(report.model_copy(update={"tasks": (task.model_copy(update={"verdict": verdict}),)}))
    assert "The base model hits 3." in page
    assert "The returned weights hit 14." in page
    assert f"at most {words.say_p(task.verdict.p_value)}." in page


def test_of_many_tasks_those_with_findings_and_the_newest_are_shown_in_full(report, render, monkeypatch):
    monkeypatch.setattr(contents, "MOST_DETAILED", 15)
    page = render(report)
    assert_needs_nothing_else(page)
    full = Contents(report).detailed
    assert {task.task_id for task in report.tasks if task.findings} <= full
    assert report.tasks[-1].task_id in full
    assert report.tasks[5].task_id not in full
    assert page.count('<details class="task"') == len(full) == 15
    assert page.count('<div class="task line"') == len(report.tasks) - 15


def test_of_many_findings_of_a_kind_the_first_are_listed(report, render, monkeypatch):
    monkeypatch.setattr(contents, "MOST_IN_GROUP", 3)
    listed = section(render(report), "findings")
    assert listed.count("is missing <a") == 3 + 2
    assert "and 4 more" in listed


def test_a_page_that_cannot_be_written_is_the_users_mistake(report, tmp_path):
    with pytest.raises(BadInput, match="cannot write"):
        write_page(report, tmp_path / "nowhere" / "audit.html")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (90, "1 minute 30 seconds"),
        (604_800, "7 days"),
        (-60, "\N{MINUS SIGN}1 minute"),
    ],
)
def test_durations_have_their_two_largest_units(seconds, said):
    assert words.say_duration(seconds) == said


def test_times_are_in_utc_and_need_not_be_times():
    assert words.say_time(1_700_000_000) == "2023-11-14 22:13:20 UTC"
    assert words.say_time(2**63) == f"Unix time {2**63}"


def test_terms_have_their_units():
    assert words.say_term("1000000000000001", "reward") == "0.001000000000000001 ETH"
    assert words.say_term(3_600, "train_seconds") == "1 hour"
    assert words.say_term("0x" + b"canary".hex().ljust(64, "0"), "scheme") == "canary"
    assert words.say_term("0x" + "00" * 32, "scheme") == "0x" + "00" * 32
    assert words.say_term(False, "slashing") == "false"


def test_the_style_names_only_filters_that_are_there(report, render):
    page = render(report)
    ids = {attributes["id"] for _tag, attributes in Tags(page).found if "id" in attributes}
    assert set(re.findall(r"#((?:findings|outcome|bundle)-\d+):checked", page)) == {
        name for name in ids if re.fullmatch(r"(findings|outcome|bundle)-\d+", name)
    }
