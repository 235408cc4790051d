"""Errors are sorted by guilt: what may be done next follows from the class."""

import asyncio

import pytest

from validator import errors
from validator.errors import BadInput, Fatal, MinerFault, Reverted, TouchstoneError, Transient, first_error


def test_every_error_has_exactly_one_guilty_party():
    parties = (BadInput, MinerFault, Transient, Fatal, errors.Cancelled, errors.IllegalEvent)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TouchstoneError)]
    for kind in set(kinds) - {TouchstoneError}:
        assert sum(issubclass(kind, party) for party in parties) == 1, kind


def test_a_revert_keeps_the_contracts_reason():
    assert Reverted("settle: bad proof").reason == "settle: bad proof"
    assert str(Reverted("settle: bad proof")) == "the contract refused: settle: bad proof"


def test_no_refusal_is_of_two_kinds():
    for kind in Reverted.__subclasses__():
        assert kind.__bases__ == (Reverted,)
        assert kind.__subclasses__() == []
        assert kind.__name__ in (errors.__doc__ or "")


async def test_the_first_error_of_nested_groups_is_the_one_that_ended_the_others():
    async def fail():
        async with asyncio.TaskGroup() as inner:
            inner.create_task(asyncio.sleep(60))
            raise Fatal("the cause")

    async def fail_in_a_group():
        async with asyncio.TaskGroup() as outer:
            outer.create_task(asyncio.sleep(60))
            outer.create_task(fail())

    with pytest.raises(BaseExceptionGroup) as caught:
        await fail_in_a_group()
    assert str(first_error(caught.value)) == "the cause"
