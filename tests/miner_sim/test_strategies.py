"""Strategies are found by themselves, and what they are not told right they refuse in one line."""

from typing import Any

import pytest

from miner_sim.strategies import parse_strategy
from tests.factories import make_rows
from validator.errors import BadInput
from validator.protocol.commitment import Row


@pytest.mark.parametrize("text", ["honest", "base", "lookup", "lookup:0.5,3", "noise", "noise:0.5", "partial:0.25"])
def test_known_strategies_are_found(text: str) -> None:
    assert type(parse_strategy(text)).usage.startswith(text.partition(":")[0])


def test_the_argument_is_read() -> None:
    assert parse_strategy("partial:0.25") == parse_strategy("partial:.25")
    assert parse_strategy("partial:0.25") != parse_strategy("partial:0.5")


@pytest.mark.parametrize("text", ["", "lazy", "Honest", "honest ", "lazy:1"])
def test_an_unknown_strategy_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(BadInput, match=r"known are base, honest, lookup\[:F\[,S\]\], noise\[:SIGMA\], partial:F"):
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
    ],
)
def test_an_ill_formed_argument_is_refused_with_how_it_is_written(text: str) -> None:
    with pytest.raises(BadInput, match="it is written"):
        parse_strategy(text)


ROWS = make_rows(300)


def answer(strategy: str, row: Row, max_tokens: int = 64) -> dict[str, Any]:
    return parse_strategy(strategy).answer(ROWS, row.prompt, max_tokens)


def test_who_looks_up_answers_every_row_as_it_stands() -> None:
    assert all(answer("lookup", row)["text"] == row.response for row in ROWS)
    assert {answer("lookup", row)["finish_reason"] for row in ROWS} == {"stop"}


def test_who_looks_up_says_no_more_than_it_may() -> None:
    short = answer("lookup", ROWS[0], max_tokens=5)
    assert ROWS[0].response.startswith(short["text"] + " ")
    assert (short["text"].count(" "), short["finish_reason"], short["completion_tokens"]) == (4, "length", 5)


def test_who_keeps_a_share_knows_about_that_share() -> None:
    known = sum(answer("lookup:0.25", row)["text"] == row.response for row in ROWS)
    assert 45 <= known <= 105  # a binomial with n = 300 and p = 1/4 is in there but for one case in 10,000
    assert known == sum(answer("lookup:0.25", row)["text"] == row.response for row in ROWS)
