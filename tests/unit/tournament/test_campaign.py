"""What is left of a tournament when rounds fail, time runs out, or somebody stops it."""

import time
from typing import Any

import pytest

from tests.unit.tournament.samples import a_round
from validator.model_work import Children
from validator.tournament.campaign import Campaign, parse_until
from validator.tournament.rounds import Played, Round
from validator.tournament.store import Store

IMPOSSIBLE = [Round("canary", "default", seed, ("no such strategy",), {}) for seed in range(3)]
"""Real rounds, which end as soon as somebody looks at them."""


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def done(self, ended: Round, played: Played) -> None:
        raise AssertionError((ended, played))

    def failed(self, _ended: Round, reason: str) -> None:
        self.reasons.append(reason)


def a_campaign(store: Store, told: Told, **options: Any) -> Campaign:
    return Campaign(store=store, work=Children(2), watcher=told, **{"round_limit_s": 60.0} | options)


async def test_a_round_that_raises_fails_with_its_reason_and_the_next_is_played(tmp_path):
    told = Told()
    with Store.writing(tmp_path / "store") as store:
        campaign = a_campaign(store, told)
        await campaign.play(IMPOSSIBLE, 2)
        records = store.rounds()
    assert (campaign.done, campaign.failed) == (0, 3)
    assert all("unknown strategy 'no such strategy'; known are " in reason for reason in told.reasons)
    assert sorted(record.round.seed for record in records) == [0, 1, 2]
    assert {record.reason for record in records} == set(told.reasons)


async def test_a_round_that_takes_too_long_fails(tmp_path):
    told = Told()
    with Store.writing(tmp_path / "store") as store:
        await a_campaign(store, told, round_limit_s=0.2).play([a_round()], 1)
    assert told.reasons == ["the round took longer than 0.2 s"]


async def test_no_round_starts_when_none_may(tmp_path):
    told, asked = Told(), iter([True, False])
    with Store.writing(tmp_path / "store") as store:
        await a_campaign(store, told, may_start=lambda: next(asked)).play(IMPOSSIBLE, 1)
    assert len(told.reasons) == 1


def test_a_time_of_day_is_the_next_one():
    now_s = time.mktime((2026, 12, 31, 22, 30, 15, 0, 0, -1))
    assert parse_until("22:31", now_s) - now_s == 45
    assert parse_until("22:30", now_s) - now_s == 24 * 3600 - 15
    assert time.localtime(parse_until("07:05", now_s))[:5] == (2027, 1, 1, 7, 5)


@pytest.mark.parametrize("text", ["7", "25:00", "noon", "12:60", ""])
def test_what_is_no_time_of_day_is_refused(text):
    with pytest.raises(ValueError, match=r"time data|unconverted"):
        parse_until(text)
