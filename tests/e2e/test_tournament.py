"""`touchstone tournament` with real rounds: stopped in every way, on Ray, and resumed without playing twice."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.command import TOUCHSTONE, run_touchstone
from tests.ray_cluster import running_ray_cluster
from validator.tournament.store import Store, read_store

WORKER = "validator.tournament.worker"
MINERS = "miner_sim"
PATIENCE_S = 240


def write_grid(directory: Path, *, rounds: int, limit_s: float = 600) -> Path:
    """The cheapest rounds that there are: one miner that looks the answers up and trains nothing."""
    path = directory / "grid.toml"
    path.write_text(
        f"""
        name = "cheapest"
        about = "One miner, which trains nothing."
        round_limit_s = {limit_s}
        [settings]
        rows = 300
        [schemes.canary]
        scheme = "canary"
        [[parts]]
        strategies = ["lookup"]
        seeds = {rounds}
        """
    )
    return path


class Running:
    """A tournament in a process of its own."""

    def __init__(self, grid: Path, store: Path, *options: str) -> None:
        self._store = store
        command = [TOUCHSTONE, "tournament", "run", grid, "--store", store, *options]
        self.scratch = Path(tempfile.mkdtemp())  # The path of the test's own is too long for a socket.
        environment = os.environ | {"TMPDIR": str(self.scratch)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def wait_for_rounds(self, count: int) -> None:
        """Until the store has so many finished ones, each of which may take its time."""
        for reached in range(len(done(self._store)) + 1, count + 1):
            self._wait(lambda reached=reached: len(done(self._store)) >= reached)

    def wait_for_process(self, module: str) -> psutil.Process:
        """Until a descendant runs this module."""
        self._wait(lambda: bool(self._find(module)))
        return self._find(module)[0]

    def _find(self, module: str) -> list[psutil.Process]:
        return [found for found in psutil.Process(self.process.pid).children(recursive=True) if runs(found, module)]

    def _wait(self, is_there: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_there():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def end(self, signal_number: int) -> tuple[int, str]:
        """Send it, and see that no descendant outlives it for long."""
        self.wait_for_process(WORKER)  # In the middle of a round.
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal_number)
        output = self.process.communicate(timeout=PATIENCE_S)[0]
        _gone, alive = psutil.wait_procs(family, timeout=60)
        assert alive == []
        assert list(self.scratch.glob("touchstone-round-*/run")) == []
        shutil.rmtree(self.scratch)
        return self.process.returncode, output


def runs(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def done(store: Path) -> dict[str, float]:
    """When each finished round ended, by its key."""
    if not store.exists():
        return {}
    return {record.round.key: record.ended_at_s for record in read_store(store)[0] if record.is_done}


def stop_and_resume(directory: Path, *, rounds: int, stops: int) -> None:
    """Stopped by SIGKILL and Ctrl-C in turns, and played to the end: no finished round is ever played again."""
    grid, store = write_grid(directory, rounds=rounds), directory / "store.sqlite"
    finished: dict[str, float] = {}
    for stop in range(stops):
        running = Running(grid, store, "--processes", "2")
        running.wait_for_rounds(len(finished) + max(1, rounds // (stops + 1)))
        status, output = running.end(signal.SIGINT if stop % 2 else signal.SIGKILL)
        assert status == (130 if stop % 2 else -signal.SIGKILL), output
        after = done(store)
        assert after.items() >= finished.items()
        finished = after
    assert len(finished) < rounds
    ended = run_touchstone("tournament", "run", grid, "--store", store, "--processes", "2", timeout_s=60 * rounds)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{rounds - len(finished)} rounds played, 0 failed, 0 of {rounds} to play" in ended.stdout
    records, results = read_store(store)
    assert [record.attempts for record in records] == [1] * rounds
    assert done(store).items() > finished.items()
    assert sorted(result.seed for result in results) == list(range(rounds))
    again = run_touchstone("tournament", "run", grid, "--store", store)
    assert (again.returncode, "0 rounds played" in again.stdout) == (0, True)


@pytest.mark.timeout(900)
def test_a_tournament_that_is_stopped_plays_no_finished_round_again(tmp_path):
    stop_and_resume(tmp_path, rounds=3, stops=1)
    shown = run_touchstone("tournament", "show", "--store", tmp_path / "store.sqlite")
    assert re.search(r"lookup +3 +100 \(29-100\) +0 +16\.0", shown.stdout)
    assert "Cheating pays: lookup, paid 3 of 3 times" in shown.stdout


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_500_rounds_that_are_stopped_ten_times(tmp_path):
    stop_and_resume(tmp_path, rounds=500, stops=10)


@pytest.mark.soak
def test_a_round_that_dies_or_hangs_is_noted_and_played_again(tmp_path):
    """Its process is killed, then it is stopped until its time is over; a second run is refused meanwhile."""
    grid, store = write_grid(tmp_path, rounds=1), tmp_path / "store.sqlite"
    running = Running(grid, store)
    worker = running.wait_for_process(WORKER)
    second = run_touchstone("tournament", "run", grid, "--store", store)
    assert (second.returncode, second.stdout) == (2, "")
    assert "another process is playing the tournament" in second.stderr
    running.wait_for_process(MINERS)
    worker.kill()
    output = running.process.communicate(timeout=PATIENCE_S)[0]
    assert running.process.returncode == 1, output
    assert "the round's process was ended by SIGKILL" in output

    running = Running(write_grid(tmp_path, rounds=1, limit_s=15), store)
    worker = running.wait_for_process(WORKER)
    worker.suspend()
    output = running.process.communicate(timeout=PATIENCE_S)[0]
    assert not worker.is_running()
    assert running.process.returncode == 1, output
    assert "the round took longer than 15 s" in output
    (record,) = read_store(store)[0]
    assert (record.is_done, record.attempts, record.reason) == (False, 2, "the round took longer than 15 s")
    assert "failed (2 times)" in run_touchstone("tournament", "show", "--store", store).stdout


@pytest.mark.soak
def test_rounds_are_played_on_a_ray_cluster(tmp_path):
    grid, store = write_grid(tmp_path, rounds=1), tmp_path / "store.sqlite"
    with running_ray_cluster() as address:
        ended = run_touchstone("tournament", "run", grid, "--store", store, "--ray", address)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (record,), (result,) = read_store(store)
    assert record.is_done
    assert (result.cpu_s or 0) > 0
    assert {"python", "touchstone", "torch", "machine"} <= set(record.versions)
    assert (result.strategy, result.verdict, result.hits) == ("lookup", "paid", 16)
    with Store.reading(store) as reading:
        assert reading.report(record.round.key)["seed"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--until", "7 o'clock"], "--until takes a time of day"),
        (["--processes", "0"], "the number of processes is 1 to"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(tmp_path, options, message):
    grid, store = write_grid(tmp_path, rounds=1), tmp_path / "store.sqlite"
    ended = run_touchstone("tournament", "run", grid, "--store", store, *options)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not store.exists()
