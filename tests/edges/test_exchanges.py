"""Whose turn it is: the order of waiting, whatever ends or is given up meanwhile."""

import asyncio

from validator.edges.exchanges import Exchanges, Limits

MINERS, PLACES, QUESTIONS = 10, 3, 3


async def test_nobody_is_asked_again_before_all_who_waited_were_asked():
    """N1: whoever has a place and begins another exchange at once would keep it to its last probe."""
    exchanges, begun = Exchanges(Limits(exchanges=PLACES)), list[int]()

    async def ask(miner: int) -> None:
        for _ in range(QUESTIONS):
            async with exchanges.begin(miner):
                begun.append(miner)
                await asyncio.sleep(0)

    await asyncio.gather(*map(ask, range(MINERS)))
    assert begun == list(range(MINERS)) * QUESTIONS


async def test_who_gives_up_waiting_takes_no_place_along():
    exchanges, begun = Exchanges(Limits(exchanges=1)), list[int]()

    async def ask(miner: int) -> None:
        async with exchanges.begin(miner):
            begun.append(miner)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(ask(miner)) for miner in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()  # It waits.
    tasks[0].add_done_callback(lambda _task: tasks[2].cancel())  # It has just been given its turn.
    await asyncio.wait(tasks)
    assert begun[0] == 0
    assert begun[-1] == 3
    assert 1 not in begun
    async with asyncio.timeout(1), exchanges.begin(5):
        pass
