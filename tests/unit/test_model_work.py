"""Jobs in children and on a local Ray cluster: the same results, errors and limits, and none outlives its caller."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ray_cluster import free_port, running_ray_cluster
from validator.base_model.grammar import MODEL_DIRECTORY
from validator.child_processes import JobLimits, WorkerDied, WorkFailed
from validator.errors import BadInput
from validator.model_work import Children, ModelWork, RayCluster
from validator.protocol.method import LORA, Method
from validator.weights.probe import measure

SHORT = JobLimits(wall_s=60, cpu_s=30, memory_bytes=4 << 30)
IN_CHILDREN = "children"
ON_RAY = "ray"


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A cluster of one node with one processor, for this module alone."""
    with running_ray_cluster() as address:
        yield address


@pytest.fixture(params=[IN_CHILDREN, ON_RAY])
def work(request: pytest.FixtureRequest) -> ModelWork:
    if request.param == IN_CHILDREN:
        return Children(2)
    return RayCluster(request.getfixturevalue("ray_address"), 1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise BadInput("not like this")


def be_wrong() -> None:
    int("x")


def note_and_sleep(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(600)


def burn() -> None:
    while True:
        pass


def hoard() -> int:
    return len(bytearray(8 << 30))


def core_limit() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


async def test_a_job_gives_its_result_from_another_process(work):
    assert await work.run(divmod, 7, 2, limits=SHORT) == (3, 1)
    assert await work.run(os.getpid, limits=SHORT) != os.getpid()


async def test_what_a_job_raises_comes_back_as_our_error(work):
    with pytest.raises(BadInput, match="not like this"):
        await work.run(refuse, limits=SHORT)
    with pytest.raises(WorkFailed, match="ValueError: invalid literal"):
        await work.run(be_wrong, limits=SHORT)


async def test_a_job_whose_process_dies_is_nobodys_fault_and_the_next_one_runs(work):
    """M13, P12."""
    with pytest.raises(WorkerDied):
        await work.run(die, limits=SHORT)
    assert await work.run(int, "7", limits=SHORT) == 7


async def test_a_job_that_needs_too_much_memory_is_ended(work):
    """P12."""
    with pytest.raises(WorkerDied, match="memory"):
        await work.run(hoard, limits=SHORT)


async def test_a_job_that_does_not_end_is_ended(work, tmp_path):
    """M13: a model that hangs."""
    wall_s = 6
    while not noted(tmp_path / "pid"):  # a busy machine may not even have begun it
        with pytest.raises(WorkerDied, match=f"longer than {wall_s} s"):
            await work.run(note_and_sleep, tmp_path / "pid", limits=JobLimits(wall_s=wall_s))
        wall_s *= 2
    await until_gone(tmp_path / "pid")


async def test_a_job_that_computes_without_end_is_ended(work):
    """M13."""
    with pytest.raises(WorkerDied):
        await work.run(burn, limits=JobLimits(wall_s=60, cpu_s=1))


async def test_a_base_model_is_loaded_within_the_limits(work):
    """What probing begins with: the libraries, and a model."""
    assert await work.run(measure, str(MODEL_DIRECTORY), Method(LORA, 128, 1), limits=SHORT) == 40_960


async def test_a_job_leaves_no_core_file(work):
    """K8."""
    assert (await work.run(core_limit, limits=SHORT))[0] == 0


async def test_a_cancelled_job_is_ended(work, tmp_path):
    job = asyncio.create_task(work.run(note_and_sleep, tmp_path / "pid", limits=SHORT))
    await until_noted(tmp_path / "pid")
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await until_gone(tmp_path / "pid")


async def test_a_job_that_is_cancelled_while_its_process_starts_leaves_none():
    before = {child.pid for child in psutil.Process().children()}
    job = asyncio.create_task(Children(1).run(time.sleep, 600, limits=SHORT))
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    left = [child for child in psutil.Process().children() if child.pid not in before]
    assert [child for child in left if "resource_tracker" not in " ".join(child.cmdline())] == []


async def test_no_more_jobs_run_at_once_than_there_are_places(tmp_path):
    work, paths = Children(1), [tmp_path / "a", tmp_path / "b"]
    jobs = [asyncio.create_task(work.run(note_and_sleep, path, limits=SHORT)) for path in paths]
    await until_noted(paths[0])
    assert not paths[1].exists()
    jobs[0].cancel()
    await until_noted(paths[1])
    jobs[1].cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


async def test_a_cluster_that_is_not_there_is_nobodys_fault():
    pytest.importorskip("ray")
    with pytest.raises(WorkerDied):
        await RayCluster(f"127.0.0.1:{free_port()}", 1).run(int, "7", limits=JobLimits(wall_s=5))


def noted(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def until_noted(path: Path) -> None:
    async with asyncio.timeout(60):
        while not noted(path):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_gone(path: Path) -> None:
    """Until the process whose id was noted there has ended."""
    pid = int(noted(path))
    async with asyncio.timeout(30):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
