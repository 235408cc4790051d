"""Children fail alone: their errors are translated, a dead one is replaced, and none outlives `close`."""

import asyncio
import os
from collections.abc import Iterator

import psutil
import pytest

from miner_sim.workers import Workers
from validator.child_processes import WorkerDied, WorkFailed
from validator.errors import BadInput


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(training_workers=1)
    yield workers
    workers.close()


async def test_what_a_child_raises_comes_back_as_our_error(workers: Workers) -> None:
    with pytest.raises(WorkFailed, match="ValueError: invalid literal"):
        await workers.inference.run(int, "x")


async def test_a_child_that_dies_is_replaced(workers: Workers) -> None:
    """P12."""
    with pytest.raises(WorkerDied):
        await workers.inference.run(os._exit, 1)
    assert await workers.inference.run(int, "7") == 7


def test_a_temporary_directory_that_is_too_deep_for_a_socket_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "deep/" * 20)  # noqa: S108
    with pytest.raises(BadInput, match="set TMPDIR to a shorter one"):
        Workers(training_workers=1)


async def test_close_ends_a_child_in_the_middle_of_its_work(workers: Workers) -> None:
    async with workers.training_child() as pool:
        child = psutil.Process(await pool.run(os.getpid))
        work = asyncio.create_task(pool.run(_sleep_long))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(workers.close)
        assert not child.is_running()
        with pytest.raises(WorkerDied):
            await work


async def test_work_that_is_cancelled_ends_with_its_child_and_leaves_the_place_to_the_next(workers: Workers) -> None:
    async def occupy() -> None:
        async with workers.training_child() as pool:
            started.set_result(psutil.Process(await pool.run(os.getpid)))
            await pool.run(_sleep_long)

    started: asyncio.Future[psutil.Process] = asyncio.get_running_loop().create_future()
    work = asyncio.create_task(occupy())
    child = await started
    work.cancel()
    await asyncio.wait([work])
    assert not child.is_running()
    async with workers.training_child() as pool:
        assert await pool.run(int, "7") == 7


async def test_close_ends_nobody_elses_children(workers: Workers) -> None:
    child = psutil.Process(await workers.inference.run(os.getpid))
    await asyncio.to_thread(Workers(training_workers=1).close)
    assert child.is_running()
    assert await workers.inference.run(os.getpid) == child.pid


def _sleep_long() -> None:
    import time

    time.sleep(600)
