"""What the page says, without a browser: the same figures as the statistics, nothing from outside, any store."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from miner_sim.strategies.flagged import DEFAULT_SHARE
from tests.report.made_store import ACTORS, HOSTILE_NAME, SCHEMES, make_store
from tests.report.tags import Tags, assert_needs_nothing_else
from validator.errors import BadInput
from validator.simulation.report import MinerResult, SimulationReport
from validator.tournament.cells import Rate
from validator.tournament.report import words, write_report
from validator.tournament.report.contents import read_contents
from validator.tournament.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("report") / "zoo.sqlite")


def render(store: Path) -> str:
    path = store.with_suffix(".html")
    write_report(store, path)
    return path.read_text("utf-8")


def test_the_made_store_speaks_the_words_of_real_rounds(store):
    """A field that a simulation does not report is none that the page may show."""
    with Store.reading(store) as opened:
        report = opened.report(opened.results()[0].round_key)
    assert set(report) <= {field.name for field in fields(SimulationReport)}
    assert set(report["miners"][0]) - {"cost"} <= {field.name for field in fields(MinerResult)}


def test_the_page_is_well_formed_and_needs_nothing_else(store):
    assert_needs_nothing_else(render(store))


def test_hostile_text_is_escaped_everywhere(store):
    page = render(store)
    assert HOSTILE_NAME not in page
    assert "<img" not in page
    assert page.count("&lt;img src=x") > len(SCHEMES)


def test_every_strategy_is_in_every_comparison(store):
    page = re.sub(r"\s+", " ", render(store))
    for section in ("caught", "profit", "schemes", "compute"):
        text = page.split(f'<section id="{section}">')[1].split("</section>")[0]
        for actor in ACTORS:
            if actor.name != HOSTILE_NAME:
                assert f">{actor.name}</th>" in text, (section, actor.name)


def test_it_says_how_it_was_measured(store):
    page = render(store)
    for said in ("15 finished on", "1 failed", "0 to 4", "torch 2.13.0", "AMD EPYC", "rows 300", "learning_rate 0.004"):
        assert said in page


def test_stealth_is_the_recall_of_those_who_train_on_what_a_detector_flags(store):
    contents = read_contents(store)
    canary = next(setting for setting in contents.settings if setting.scheme == "canary")
    flagged = [point for point in canary.points if point.strategy == "flagged:base-perplexity"]
    assert contents.detectors == {"base-perplexity": DEFAULT_SHARE, "onion,0.25": 0.25}
    assert canary.recalls["base-perplexity"] == pytest.approx(sum(point.trained for point in flagged) / 5)
    assert canary.recalls.keys() == contents.detectors.keys()


def test_the_headline_adds_up_all_settings(store):
    contents = read_contents(store)
    assert contents.honest_paid == Rate(15, 15)
    assert contents.honest_slashed == Rate(0, 15)
    assert contents.cheats_paid.trials == 15 * (len(ACTORS) - 1)
    assert contents.cheats_paid.count == sum(setting.cheats_paid.count for setting in contents.settings)


def test_without_measured_compute_there_is_no_price_to_move(tmp_path):
    page = render(make_store(tmp_path / "free.sqlite", seeds=[0], has_cost=False))
    assert 'type="range"' not in page
    assert "compute costs nothing here" in page
    assert "not measured" in page


@pytest.mark.parametrize("alone", ["honest", "base"])
def test_one_strategy_alone_has_a_page_too(tmp_path, alone):
    actor = next(actor for actor in ACTORS if actor.name == alone)
    page = render(make_store(tmp_path / "one.sqlite", seeds=[3], actors=[actor]))
    Tags(page)
    assert ("No honest miner took part" in page) == (alone == "base")


def test_a_store_without_results_is_the_users_mistake(tmp_path):
    with pytest.raises(BadInput, match="there is no tournament"):
        write_report(tmp_path / "none.sqlite", tmp_path / "report.html")
    with pytest.raises(BadInput, match=r"no round of .* has finished"):
        write_report(make_store(tmp_path / "empty.sqlite", seeds=[]), tmp_path / "report.html")
    with pytest.raises(BadInput, match="cannot write"):
        write_report(make_store(tmp_path / "full.sqlite", seeds=[0]), tmp_path / "nowhere" / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("share", "said"), [(0, "0%"), (0.001, "<1%"), (0.5, "50%"), (0.999, ">99%"), (1, "100%")])
def test_a_share_is_never_rounded_to_certainty(share, said):
    assert words.say_share(share) == said


@pytest.mark.parametrize(
    ("exaflops", "said"),
    [(0.0, "0 FLOP"), (1.5e-9, "1.5 GFLOP"), (2e-6, "2 TFLOP"), (3.0, "3 EFLOP")],
)
def test_operations_have_the_usual_prefix(exaflops, said):
    assert words.say_flops(exaflops) == said


def test_numbers_are_said_in_ranges():
    assert words.say_ranges([7, 0, 1, 2, 4]) == "0 to 2, 4, 7"
    assert words.say_ranges([5]) == "5"


def test_losses_have_a_real_minus_sign():
    assert (words.say_ether(-0.5), words.say_ether(0.25)) == ("\N{MINUS SIGN}0.50", "+0.25")
