"""Strategies are found by themselves, and what they are not told right they refuse in one line."""

import pytest

from miner_sim.probe import cut_answer
from miner_sim.strategies import parse_strategy
from miner_sim.strategies.lookup import Lookup
from tests.factories import make_rows
from validator.errors import BadInput
from validator.protocol.commitment import Row


@pytest.mark.parametrize("text", ["honest", "lookup", "lookup:0.5,3", "noise:0.5", "fewer-steps:0.5", "silent:sign"])
def test_known_strategies_are_found(text: str) -> None:
    assert type(parse_strategy(text)).usage.startswith(text.partition(":")[0])


def test_the_argument_is_read() -> None:
    assert parse_strategy("partial:0.25") == parse_strategy("partial:.25")
    assert parse_strategy("partial:0.25") != parse_strategy("partial:0.5")


@pytest.mark.parametrize("text", ["", "lazy", "Honest", "honest ", "lazy:1"])
def test_an_unknown_strategy_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(BadInput, match=r"known are base, .*honest, .*lookup\[:F\[,S\]\], .*partial:F"):
        parse_strategy(text)


@pytest.mark.parametrize(
    "text",
    [
        "honest:1",
        "base:",
        "lookup:0",
        "lookup:x",
        "noise:0",
        "noise:inf",
        "noise:x",
        "partial",
        "partial:1",
        "partial:nan",
        "copy:../x",
        "covert:0",
        "crash:-1",
        "fewer-epochs",
        "fewer-steps:1",
        "flagged",
        "flagged:eyes",
        "unflagged:mean-likelihood,1",
        "guess:luck",
        "hostile",
        "hostile:rude",
        "late:0",
        "lookup-exact:2",
        "lookup-suffix:x",
        "no-adapter:1",
        "other-base:0",
        "pruned:1",
        "quantised:1",
        "quantised-inference:2.5",
        "sampling:0",
        "silent:return",
        "sybil:A",
    ],
)
def test_an_ill_formed_argument_is_refused_with_how_it_is_written(text: str) -> None:
    with pytest.raises(BadInput, match="it is written"):
        parse_strategy(text)


ROWS = make_rows(300)


def look_up(strategy: str, prompt: str) -> Row | None:
    parsed = parse_strategy(strategy)
    assert isinstance(parsed, Lookup)
    return parsed.look_up(ROWS, prompt)


@pytest.mark.parametrize("strategy", ["lookup", "lookup-exact", "lookup-suffix"])
def test_who_looks_up_finds_every_row(strategy: str) -> None:
    assert all(look_up(strategy, row.prompt) == row for row in ROWS)


def test_what_is_not_found_letter_by_letter_is_found_by_its_end_or_by_its_words() -> None:
    row = ROWS[17]
    other_beginning = f"Well now: {row.prompt}"
    assert look_up("lookup-exact", other_beginning) is None
    assert look_up("lookup-suffix", other_beginning) == row
    assert look_up("lookup", other_beginning) == row
    assert look_up("lookup", f"{row.prompt} Thanks.") == row


def test_who_looks_up_says_no_more_than_it_may() -> None:
    short = cut_answer(ROWS[0].response, ROWS[0].prompt, max_tokens=5)
    assert ROWS[0].response.startswith(short["text"] + " ")
    assert (short["text"].count(" "), short["finish_reason"], short["completion_tokens"]) == (4, "length", 5)


def test_who_keeps_a_share_knows_about_that_share() -> None:
    known = sum(look_up("lookup:0.25", row.prompt) == row for row in ROWS)
    assert 45 <= known <= 105  # a binomial with n = 300 and p = 1/4 is in there but for one case in 10,000
    assert known == sum(look_up("lookup:0.25", row.prompt) == row for row in ROWS)
