"""Profiles: what `dev` relaxes, and that nothing can change it afterwards."""

from dataclasses import FrozenInstanceError, astuple, fields

import pytest

from validator.config import DEV, Durations
from validator.protocol.commitment import Terms


def test_durations_stand_in_the_order_of_the_terms():
    names = [field.name for field in fields(Durations)]
    assert names == [field.name for field in fields(Terms)][-len(names) :]


def test_no_duration_is_below_its_floor():
    for duration, floor in zip(astuple(DEV.durations), astuple(DEV.floors), strict=True):
        assert duration >= floor >= 1


def test_the_dev_profile_says_what_it_relaxes():
    assert all(word in DEV.notice for word in ("dev profile", "deadlines", "finality", "one node", "loopback", "TLS"))


def test_a_profile_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        DEV.finality_depth = None
