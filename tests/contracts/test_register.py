"""`register`: an evidence key, a URL and a TLS key under a new epoch, never while tasks run."""

import pytest

from contracts import TaskState
from tests.contracts.evm import Reverted, reverts
from tests.contracts.market import Market
from tests.contracts.rounds import AUDITOR, EVIDENCE, MINER, NOBODY, OUTSIDER

TLS_KEY_HASH = b"\x07" * 32


def test_registration_is_readable_and_logged(market: Market) -> None:
    (event,) = market.call(OUTSIDER.address, "register", AUDITOR.address, "https://a.example", TLS_KEY_HASH)
    miner = market.miner(OUTSIDER.address)
    assert miner.evidence_key == AUDITOR.address.lower()
    assert (miner.epoch, miner.url, miner.tls_key_hash) == (1, "https://a.example", TLS_KEY_HASH)
    assert (miner.stake, miner.locked, miner.running) == (0, 0, 0)
    assert event == (
        "Registered",
        {
            "miner": OUTSIDER.address.lower(),
            "epoch": 1,
            "evidence_key": AUDITOR.address.lower(),
            "url": "https://a.example",
            "tls_key_hash": TLS_KEY_HASH,
        },
    )


def test_each_registration_is_a_new_epoch_and_keeps_the_stake(market: Market) -> None:
    before = market.miner()
    market.call(MINER.address, "register", EVIDENCE.address, "https://b.example", TLS_KEY_HASH)
    after = market.miner()
    assert after.epoch == before.epoch + 1
    assert after.stake == before.stake


def test_a_task_opened_for_an_older_epoch_cannot_be_accepted(market: Market) -> None:
    """C7."""
    round_ = market.reach(TaskState.OPEN)
    market.call(MINER.address, "register", EVIDENCE.address, "", TLS_KEY_HASH)
    with reverts("accept: another epoch"):
        market.accept(round_)


def test_url_of_256_bytes_is_the_longest(market: Market) -> None:
    market.call(OUTSIDER.address, "register", EVIDENCE.address, "u" * 256, TLS_KEY_HASH)
    assert market.miner(OUTSIDER.address).url == "u" * 256
    with pytest.raises(Reverted):
        market.call(OUTSIDER.address, "register", EVIDENCE.address, "u" * 257, TLS_KEY_HASH)


def test_evidence_key_may_not_be_the_zero_address(market: Market) -> None:
    with reverts("register: no evidence key"):
        market.call(MINER.address, "register", NOBODY, "", TLS_KEY_HASH)


@pytest.mark.parametrize("state", list(TaskState)[TaskState.ACCEPTED : TaskState.SLASH_PENDING + 1])
def test_nobody_registers_anew_under_a_running_task(market: Market, state: TaskState) -> None:
    """C7."""
    round_ = market.reach(state)
    with reverts("register: a task is running"):
        market.call(MINER.address, "register", OUTSIDER.address, "", TLS_KEY_HASH)
    market.expire(round_)
    market.poke(round_)
    market.call(MINER.address, "register", OUTSIDER.address, "", TLS_KEY_HASH)
