"""Strategies are found by themselves, and what they are not told right they refuse in one line."""

import pytest

from miner_sim.strategies import parse_strategy
from validator.errors import BadInput


@pytest.mark.parametrize("text", ["honest", "base", "noise", "noise:0.5", "partial:0.25"])
def test_known_strategies_are_found(text: str) -> None:
    assert type(parse_strategy(text)).usage.startswith(text.partition(":")[0])


def test_the_argument_is_read() -> None:
    assert parse_strategy("partial:0.25") == parse_strategy("partial:.25")
    assert parse_strategy("partial:0.25") != parse_strategy("partial:0.5")


@pytest.mark.parametrize("text", ["", "lazy", "Honest", "honest ", "lazy:1"])
def test_an_unknown_strategy_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(BadInput, match=r"known are base, honest, noise\[:SIGMA\], partial:F"):
        parse_strategy(text)


@pytest.mark.parametrize(
    "text", ["honest:1", "base:", "noise:0", "noise:inf", "noise:x", "partial", "partial:", "partial:1", "partial:nan"]
)
def test_an_ill_formed_argument_is_refused_with_how_it_is_written(text: str) -> None:
    with pytest.raises(BadInput, match="it is written"):
        parse_strategy(text)
