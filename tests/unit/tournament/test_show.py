"""What `show` prints: the table, whether cheating pays, and what is missing."""

import io

from rich.console import Console

from tests.unit.tournament.samples import a_round, miner, played, result
from validator.tournament.cells import Prices
from validator.tournament.show import print_tournament
from validator.tournament.statistics import compute_statistics
from validator.tournament.store import RoundRecord, Store


def shown(*results, rounds: list[RoundRecord] | None = None, prices: Prices | None = None, width: int = 80) -> str:
    text = io.StringIO()
    print_tournament(Console(file=text, width=width), rounds or [], compute_statistics(results, prices))
    return text.getvalue()


def row(text: str, strategy: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(strategy)]
    return line.split()


def test_the_table_has_rates_costs_and_profits_within_eighty_columns():
    honest = [result("honest", seed=seed) for seed in range(30)]
    text = shown(*honest, result("unflagged:likelihood-of-the-first-4-words-adapted", "slashed"))
    assert " ".join(row(text, "honest")) == "honest 30 100 (88-100) 0 16.0 36.0 +0.50 (+0.23, +0.50)"
    table = text.partition("No cheat")[0]
    assert max(map(len, table.splitlines())) == 80
    assert "No cheat earned more than honest work." in text


def test_long_names_break_between_their_words_where_there_is_no_room():
    name = "unflagged:likelihood-of-the-first-4-words-adapted"
    assert name in shown(result(name, "slashed"), width=120)
    lines = shown(result(name, "slashed"), width=76).splitlines()
    assert [line.split()[0] for line in lines[3:7]] == ["unflagged:", "likelihood-of-", "the-first-4-", "words-adapted"]
    assert "unflagged" in shown(result(name, "slashed"), width=60)


def test_where_a_cheat_pays_it_says_so():
    text = shown(result("honest"), result("lookup", cpu_s=0.36), result("half", cpu_s=18.0))
    assert "Cheating pays: lookup, paid 1 of 1 times" in text
    assert "breaks even at 1e+04 ether per CPU hour. 1 more pays." in text
    assert "Cheating pays: free, paid 1 of 1 times" in (text := shown(result("free", cpu_s=0.0)))
    assert "at any price" in text


def test_where_costs_are_unknown_no_profit_is_claimed():
    text = shown(result("honest", cpu_s=None), result("lookup", cpu_s=None), prices=Prices(1.0))
    assert "What the work cost was not measured, so nothing can be said of profits." in text
    assert "No cheat" not in text


def test_failed_rounds_are_told_with_their_reason(tmp_path):
    with Store.writing(tmp_path / "store") as store:
        store.add_failed(a_round("honest", "base"), "the round took longer than 5 s")
        store.add_failed(a_round("honest", "base"), "the round took longer than 6 s")
        store.add_done(a_round("noise"), played(miner("noise", "slashed")))
        text = shown(*store.results(), rounds=store.rounds())
    assert "failed (2 times): canary, default, seed 0: honest, base: the round took longer than 6 s" in text
    assert "1 round, 0.00556 hours if one follows another" in text
    assert "1 with python 3.11" in text
