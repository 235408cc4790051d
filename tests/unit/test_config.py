"""Profiles: what `dev` relaxes, and that nothing can change it afterwards."""

from dataclasses import FrozenInstanceError, astuple, fields

import pytest

from validator.config import DAY_S, DEV, HOUR_S, PRODUCTION, PROFILES, Durations
from validator.protocol.commitment import Terms


def test_durations_stand_in_the_order_of_the_terms():
    names = [field.name for field in fields(Durations)]
    assert names == [field.name for field in fields(Terms)][-len(names) :]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_no_duration_is_below_its_floor(profile):
    for duration, floor in zip(astuple(profile.durations), astuple(profile.floors), strict=True):
        assert duration >= floor >= 1


def test_production_has_the_durations_of_the_protocol():
    hours = [seconds / HOUR_S for seconds in astuple(PRODUCTION.floors)]
    assert hours == [24, 1, 72, 48, 48, 72, 7 * 24]
    assert PRODUCTION.finality_depth is None


def test_stake_stays_longer_than_any_task_of_the_default_durations():
    """C8: from the request until the last state that can follow."""
    longest = sum(astuple(PRODUCTION.durations)) - min(
        PRODUCTION.durations.judging_seconds, PRODUCTION.durations.dispute_seconds
    )
    assert longest == 22 * DAY_S
    assert PRODUCTION.unstake_delay_seconds > longest


def test_the_dev_profile_says_what_it_relaxes():
    assert all(word in DEV.notice for word in ("dev profile", "deadlines", "finality", "one node", "loopback", "TLS"))


def test_a_profile_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        DEV.finality_depth = None
