"""The page as people see it, in headless Chromium: on a phone and on a desk, by day and by night, without scripts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

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
from tests.report.made_store import HOSTILE_NAME, make_store
from validator.tournament.cells import Prices
from validator.tournament.report import write_report
from validator.tournament.statistics import compute_statistics
from validator.tournament.store import read_store

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("report") / "zoo.sqlite")


@pytest.fixture(scope="module")
def html(store) -> Path:
    path = store.with_name("report.html")
    write_report(store, path)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_it_fits_every_screen_with_everything_unfolded(browser, html, size, colour_scheme):
    with opened(browser, html, size, color_scheme=colour_scheme) as page:
        assert_fits(page)


def test_the_headline_says_what_the_store_does(browser, html, store):
    _rounds, results = read_store(store)
    honest = [result for result in results if result.strategy == "honest"]
    others = [result for result in results if result.strategy != "honest"]
    with opened(browser, html) as page:
        for figure, verdict, miners in (
            ("honest-paid", "paid", honest),
            ("honest-slashed", "slashed", honest),
            ("cheats-paid", "paid", others),
        ):
            count = sum(miner.verdict == verdict for miner in miners)
            expect(page.locator(f"[data-figure={figure}]")).to_have_text(f"{count} of {len(miners)}")
        expect(page.locator(".card")).to_have_count(3)


@pytest.mark.parametrize("cost_share", [0, 3, 50, 97, 100])
def test_the_price_of_compute_moves_profits_as_the_statistics_would(browser, html, store, cost_share):
    _rounds, results = read_store(store)
    half_price = compute_statistics(results).prices.ether_per_cpu_hour
    statistics = compute_statistics(results, Prices(ether_per_cpu_hour=2 * half_price * cost_share / 100))
    with opened(browser, html) as page:
        before = page.locator("tbody[data-setting] b").all_text_contents()
        page.locator("#share").fill(str(cost_share))
        expect(page.locator("#share-out")).to_have_text(f"{cost_share}%")
        after = page.locator("tbody[data-setting] b").all_text_contents()
        assert (before == after) == (cost_share == 50)
        for index, (scheme, parameters) in enumerate(statistics.settings):
            shown = {
                row.locator("th").text_content(): as_number(row.locator("b").text_content())
                for row in page.locator(f"tbody[data-setting='{index}'] tr").all()
            }
            profits = {cell.strategy: cell.profit.mean for cell in statistics.under(scheme, parameters)}
            assert shown == {strategy: pytest.approx(profit, abs=0.0051) for strategy, profit in profits.items()}
            cheapest = statistics.cheapest_profitable_cheat(scheme, parameters)
            for place in page.locator(f"[data-cheapest='{index}'] strong").all():
                assert place.text_content() == (cheapest.strategy if cheapest else "none")


def as_number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def test_the_bars_move_too(browser, html):
    with opened(browser, html) as page:
        bar = page.locator("tbody[data-setting='0'] tr.honest rect")
        wide = bar.bounding_box()["width"]
        page.locator("#share").fill("75")
        assert 0 < bar.bounding_box()["width"] < wide


def test_without_scripts_everything_is_there_at_the_printed_price(browser, html, store):
    _rounds, results = read_store(store)
    with opened(browser, html, java_script_enabled=False) as page:
        expect(page.locator("#share")).to_be_disabled()
        expect(page.locator("#no-script")).to_be_visible()
        statistics = compute_statistics(results)
        honest = statistics.honest(*statistics.settings[0])
        expect(page.locator("tbody[data-setting='0'] tr.honest b")).to_have_text(f"{honest.profit.mean:+.2f}")


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_by_day_and_by_night_every_text_stands_out(browser, html, colour_scheme):
    with opened(browser, html, color_scheme=colour_scheme) as page:
        ground = luminance(page.locator("body"), "background-color")
        assert ground < 0.02 if colour_scheme == "dark" else ground > 0.9
        for selector in ("h1", "th small", ".good", ".bad", "a", ".key.unpaid", ".key.slashed", ".key.refunded"):
            assert contrast(luminance(page.locator(selector).first, "color"), ground) >= ENOUGH, selector
        for cell in page.locator(".heat td:not(.note)").all():
            filled = contrast(luminance(cell, "color"), luminance(cell, "background-color"))
            assert filled >= ENOUGH, cell.text_content()


def test_on_paper_nothing_stays_folded(browser, html):
    with opened(browser, html) as page:
        folded = page.locator("#caught details").nth(1).locator("tbody tr").first
        expect(folded).not_to_be_visible()
        page.emulate_media(media="print")
        expect(folded).to_be_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_screen_reader_is_told_what_the_charts_show(browser, html):
    with opened(browser, html) as page:
        silent = page.evaluate(
            """() => [...document.querySelectorAll('svg')].filter(svg =>
                !svg.parentElement.closest('svg') && !svg.getAttribute('aria-label') && svg.ariaHidden !== 'true'
            ).length"""
        )
        assert silent == 0
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="honest", exact=True)).first
        expect(row.get_by_role("img")).to_have_accessible_name(re.compile(r"^not paid: 0%, 0 of 5, 95% interval 0% to"))
        expect(row.get_by_role("cell")).to_have_count(3)
        expect(page.get_by_role("slider")).to_have_accessible_name(re.compile("Honest work costs"))


def test_a_strategy_with_a_hostile_name_is_text(browser, html):
    with opened(browser, html) as page:
        expect(page.locator("img")).to_have_count(0)
        assert page.get_by_text(HOSTILE_NAME, exact=True).count() > 3
