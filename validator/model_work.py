"""Where model work runs: planting, probing returned weights, measuring a base model.

Rule kept: whoever wants such work done does not know whether it is done here or on a cluster, and never does it in its
own process. A job that is cancelled is ended, wherever it runs.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from validator.child_processes import JobLimits, WorkerDied, do_job, run_in_child

T = TypeVar("T")


class ModelWork(Protocol):
    """Runs functions that need a model; function, arguments and result are pickled."""

    async def run(self, function: Callable[..., T], *args: Any, limits: JobLimits = JobLimits()) -> T:  # noqa: B008
        """The result. WorkerDied (nobody's fault) if the job died or went over a limit, WorkFailed if it raised."""


class Children:
    """A process for each job, at most `processes` at a time."""

    def __init__(self, processes: int) -> None:
        self._places = asyncio.Semaphore(processes)

    async def run(self, function: Callable[..., T], *args: Any, limits: JobLimits = JobLimits()) -> T:  # noqa: B008
        async with self._places:
            return await run_in_child(function, *args, limits=limits)


class RayCluster:
    """A task on a Ray cluster for each job, at most `jobs` at a time; a child process stands here for each of them.

    Every node has this version of the package installed, and the files that a job names under the same path. Ray ends
    what it runs for a driver that is gone, so a job is cancelled by ending its child.
    """

    def __init__(self, address: str, jobs: int) -> None:
        self._address = address
        self._children = Children(jobs)

    async def run(self, function: Callable[..., T], *args: Any, limits: JobLimits = JobLimits()) -> T:  # noqa: B008
        return await self._children.run(_run_on_ray, self._address, limits, function, args, limits=limits)


def _run_on_ray(address: str, limits: JobLimits, function: Callable[..., T], args: tuple[Any, ...]) -> T:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise WorkerDied(f"there is no Ray cluster at {address}: {error}") from error
    # One process for each job: its limits bind all that runs in it, and strangers' weights share it with nothing.
    job: Any = ray.remote(max_calls=1, max_retries=0, num_cpus=1)(do_job)
    try:
        result: T = ray.get(job.remote(limits, function, args))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise WorkerDied(f"Ray: {type(error).__name__}") from error
    return result
