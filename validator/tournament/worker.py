"""Plays one round: `play` is the job, here or on a Ray cluster; this module run as a program is the process it starts.

Rules kept: a round has a process of its own, so nothing of one is in the next, and whatever happens to it ends as a
result or as one line. That process ends itself when its standard input does, which is when whoever asked is gone.
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from validator.child_processes import JobLimits, WorkFailed
from validator.errors import TouchstoneError
from validator.tournament.rounds import Played, Round

if TYPE_CHECKING:
    from validator.simulation.scenario import Scenario

ROUND_FILE, OUTCOME_FILE, RUN_DIRECTORY = "round.json", "outcome.json", "run"
MAX_GROUP_NAME = 40
"""Characters of a group's name that a miner's keeps (validator/simulation/scenario.py)."""
GRACE_S = 20.0
"""For a round that is no longer wanted to end its miners and remove its files."""
PACKAGES = {"touchstone": "touchstone-validator", "torch": "torch", "transformers": "transformers"}


def limits(round_limit_s: float) -> JobLimits:
    """Of a round's job, which ends its round itself: these only see to it that nothing lasts for ever.

    All that runs in it is the operator's own, so memory is not limited.
    """
    wall_s = round_limit_s + GRACE_S
    return JobLimits(wall_s=wall_s, cpu_s=int(wall_s * (os.cpu_count() or 1)) + 1, memory_bytes=1 << 46)


def play(canonical_round: str, limit_s: float) -> Played:
    """The round's report; WorkFailed with one line if there is none after so many seconds."""
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="touchstone-round-"))
    try:
        (directory / ROUND_FILE).write_text(canonical_round)
        outcome = _run_program(directory, limit_s)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Played(report=outcome["report"], versions=outcome["versions"], wall_s=time.monotonic() - started)


def _run_program(directory: Path, limit_s: float) -> dict[str, Any]:
    errors_file = directory / "errors.txt"
    with errors_file.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", __name__, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # Else a terminal's Ctrl-C would make a result of it.
        )
    with process:
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise WorkFailed(f"the round took longer than {limit_s:g} s") from None
    if status != 0:
        raise WorkFailed(_reason(status, errors_file.read_text(errors="replace")))
    outcome: dict[str, Any] = json.loads((directory / OUTCOME_FILE).read_bytes())
    return outcome


def _reason(status: int, errors: str) -> str:
    lines = errors.strip().splitlines()
    if status < 0:
        return f"the round's process was ended by {signal.Signals(-status).name}"
    return lines[-1].removeprefix("error: ") if lines else f"the round's process ended with status {status}"


def make_round_scenario(planned: Round) -> "Scenario":
    """The round as a scenario, a group for each strategy; BadInput if that makes no sense."""
    from validator.simulation.scenario import make_scenario

    population = {
        _group_name(strategy): {"strategy": strategy, "count": count}
        for strategy, count in Counter(planned.strategies).items()
    }
    return make_scenario(planned.settings | {"population": population, "seed": planned.seed})


def _group_name(strategy: str) -> str:
    """Its miners are named after it, and train by their names; of long ones, a name's end is lost."""
    if len(strategy) <= MAX_GROUP_NAME:
        return strategy
    return f"{strategy[: MAX_GROUP_NAME - 9]}-{hashlib.sha256(strategy.encode()).hexdigest()[:8]}"


def _simulate(played_round: Round, directory: Path) -> dict[str, Any]:
    from validator.simulation.command import run_command

    report_file = directory / "report.json"
    run_command(
        make_round_scenario(played_round),
        workers=1,  # More rounds at a time use more processors; more training processes in one only wait.
        directory=directory / RUN_DIRECTORY,
        json_file=report_file,
        quiet=True,
    )
    report: dict[str, Any] = json.loads(report_file.read_text())
    return report


def _describe_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            versions[name] = version(package)
        except PackageNotFoundError:
            continue
    return versions | {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"}


def _end_with_standard_input(directory: Path, is_alone: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    is_alone.set()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(1)


def main() -> int:
    """The round in the directory that is named; its outcome goes there too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Whoever started this may ignore it.
    directory, is_alone = Path(sys.argv[1]), threading.Event()
    try:
        # In here, since it may interrupt at once.
        threading.Thread(target=_end_with_standard_input, args=(directory, is_alone), daemon=True).start()
        status = _play_in(directory)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Else it might interrupt the removal.
    except KeyboardInterrupt:  # There is one only.
        status = 130
    finally:
        shutil.rmtree(directory / RUN_DIRECTORY, ignore_errors=True)
        if is_alone.is_set():
            shutil.rmtree(directory, ignore_errors=True)
    return status


def _play_in(directory: Path) -> int:
    try:
        report = _simulate(Round.from_canonical((directory / ROUND_FILE).read_text()), directory)
    except TouchstoneError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    outcome = {"report": report, "versions": _describe_versions()}
    (directory / OUTCOME_FILE).write_text(json.dumps(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main())
