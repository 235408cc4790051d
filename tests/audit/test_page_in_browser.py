"""The page of an audit as people see it, in headless Chromium: phone and desk, day and night, without scripts."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.audit.shown import HOSTILE_NAME, audit_everything
from tests.report.browser import (
    DESK,
    ENOUGH,
    PHONE,
    assert_fits,
    contrast,
    luminance,
    opened,
    running_browser,
)
from validator.audit.page import write_page
from validator.audit.report import Report

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return audit_everything(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def html(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("html") / "audit.html"
    write_page(report, path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def shown(page: Page) -> int:
    return sum(task.is_visible() for task in page.locator(".task").all())


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_it_fits_every_screen_with_everything_unfolded(browser, html, size, colour_scheme):
    with opened(browser, html, size, color_scheme=colour_scheme) as page:
        assert_fits(page)


@pytest.mark.parametrize("has_scripts", [True, False])
def test_tasks_are_filtered_by_findings_outcome_and_bundle_without_scripts_too(browser, html, report, has_scripts):
    paid = [task for task in report.tasks if task.outcome == "paid"]
    with opened(browser, html, java_script_enabled=has_scripts) as page:
        assert shown(page) == len(report.tasks)
        page.get_by_role("radio", name=re.compile(r"^paid \d+$")).check()
        assert shown(page) == len(paid)
        page.get_by_role("radio", name=re.compile(r"^verified \d+$")).check()
        assert shown(page) == sum(task.bundle == "verified" for task in paid) == 1
        page.get_by_role("radio", name=re.compile(r"^mismatch \d+$")).check()
        assert shown(page) == 0
        for everything in page.get_by_role("radio", name="all", exact=True).all():
            everything.check()
        assert shown(page) == len(report.tasks)


def test_a_task_is_found_by_any_of_its_addresses_and_what_is_shown_is_counted(browser, html, report):
    wanted = report.tasks[3]
    with opened(browser, html) as page:
        expect(page.locator("#shown")).to_have_text(f"{len(report.tasks)} of {len(report.tasks)} shown")
        search = page.get_by_role("searchbox", name="Address or task id")
        search.fill(f" {wanted.task_id[:12].upper().replace('0X', '0x')} ")
        expect(page.locator("#shown")).to_have_text(f"1 of {len(report.tasks)} shown")
        expect(page.locator(f"[id='task-{wanted.task_id}']")).to_be_visible()
        search.fill(wanted.miner)
        assert shown(page) == sum(task.miner == wanted.miner for task in report.tasks)
        search.fill("0xnobody")
        expect(page.locator("#shown")).to_have_text(f"0 of {len(report.tasks)} shown")


def test_a_finding_leads_to_its_task_whatever_is_filtered(browser, html, report):
    accused = next(task for task in report.tasks if task.findings)
    with opened(browser, html) as page:
        page.get_by_role("radio", name=re.compile(r"^open \d+$")).check()
        page.locator("#search").fill("0xnobody")
        task = page.locator(f"[id='task-{accused.task_id}']")
        expect(task).not_to_be_visible()
        page.locator(f"#findings a[href='#task-{accused.task_id}']").first.click()
        expect(task.locator(".finding .message").first).to_have_text(accused.findings[0].message)
        expect(task.locator(".finding .message").first).to_be_visible()


def test_a_timeline_unfolds_to_the_replies_and_the_bytes_of_a_finding(browser, html, report):
    settled = next(task for task in report.tasks if task.verdict and task.findings)
    with opened(browser, html) as page:
        task = page.locator(f"[id='task-{settled.task_id}']")
        task.locator("summary").first.click()
        expect(task.locator(".timeline > li > b")).to_have_text([event.event for event in settled.timeline])
        place = [event.event for event in settled.timeline].index("TaskSettled")
        task.locator(".timeline > li").nth(place).locator("summary").first.click()
        said = Counter(task.locator(".marks tbody tr").nth(i).locator("td").first.text_content() for i in range(16))
        assert said["● hit"] == settled.verdict.hits
        proof = settled.findings[0].proof[0]
        task.locator(".finding summary").first.click()
        expect(task.locator(".bytes code").first).to_have_text(proof.data)


def test_without_scripts_everything_is_there(browser, html, report):
    with opened(browser, html, java_script_enabled=False) as page:
        expect(page.locator("#search")).to_be_disabled()
        expect(page.locator("#no-script")).to_be_visible()
        task = page.locator("details.task").first
        task.locator("summary").first.click()
        expect(task.locator(".timeline")).to_be_visible()


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_by_day_and_by_night_every_text_stands_out(browser, html, colour_scheme):
    with opened(browser, html, color_scheme=colour_scheme) as page:
        ground = luminance(page.locator("body"), "background-color")
        assert ground < 0.02 if colour_scheme == "dark" else ground > 0.9
        severities, outcomes = (
            (".severity.mismatch", ".severity.warning", ".severity.note"),
            ("paid", "refunded", "slashed"),
        )
        for selector in (*severities, *(f".outcome.{name}" for name in outcomes), "h1", ".lead", "small", "a", ".good"):
            assert contrast(luminance(page.locator(selector).first, "color"), ground) >= ENOUGH, selector


def test_a_screen_reader_is_told_what_the_charts_show(browser, html, report):
    verdict = next(task.verdict for task in report.tasks if task.verdict)
    with opened(browser, html) as page:
        silent = page.evaluate(
            "[...document.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')).length"
        )
        assert silent == 0
        expect(page.locator(".task svg").first).to_have_accessible_name(
            f"{verdict.hits} of {verdict.n} hits; paid from {verdict.k_pay}, slashed up to {verdict.k_slash}"
        )


def test_on_paper_nothing_stays_folded(browser, html):
    with opened(browser, html) as page:
        folded = page.locator("details.task .timeline").first
        expect(folded).not_to_be_visible()
        page.emulate_media(media="print")
        expect(folded).to_be_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_scheme_with_a_hostile_name_is_text(browser, html):
    with opened(browser, html) as page:
        expect(page.locator("img")).to_have_count(0)
        assert page.get_by_text(HOSTILE_NAME, exact=True).count() > 0
