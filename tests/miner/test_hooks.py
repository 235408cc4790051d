"""Commands of the operator's: their status, their last words, and that nothing of them outlives its time."""

import asyncio
import json
from pathlib import Path

import psutil
import pytest

from tests.miner_sim.test_process import assert_all_end
from validator.miner import hooks
from validator.miner.hooks import RUNNING_FILE, Hook, HookFailed, end_left_over
from validator.miner.served_check import NotServed, check_served, choose_rows
from validator.protocol.commitment import Row


def hook(directory: Path, *command: str) -> Hook:
    return Hook("training", command, directory, {"GIVEN": "yes"})


async def test_success_leaves_a_log_and_no_note(tmp_path: Path):
    await hook(tmp_path, "sh", "-c", 'echo "$GIVEN"; cat').run(10)
    assert (tmp_path / "training.log").read_text() == "yes\n"
    assert not (tmp_path / RUNNING_FILE).exists()


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("sh", "-c", "echo begun; echo 'no GPU' >&2; exit 7"), "ended with status 7: no GPU"),
        (("sh", "-c", "exit 1"), "it has written nothing"),
        (("sh", "-c", "kill -9 $$"), "ended with signal SIGKILL"),
        (("/no/such/program",), "cannot be run: No such file"),
    ],
)
async def test_failure_says_why(tmp_path: Path, command: tuple[str, ...], complaint: str):
    with pytest.raises(HookFailed, match=complaint):
        await hook(tmp_path, *command).run(10)


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "out of time"])
async def test_the_whole_group_ends_even_if_it_ignores_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
):
    monkeypatch.setattr(hooks, "GRACE_SECONDS", 0.2)
    script = "trap '' TERM; sleep 600 & echo $! > child; wait; sleep 600"
    running = asyncio.create_task(hook(tmp_path, "sh", "-c", script).run(600 if is_cancelled else 0.5))
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    if is_cancelled:
        running.cancel()
    with pytest.raises((asyncio.CancelledError, HookFailed)):
        await running
    await assert_all_end([child])


async def test_only_the_very_process_that_was_left_is_ended(tmp_path: Path):
    """A pid is given again: what has another time of birth is somebody else's."""
    stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    note = {"pid": stranger.pid, "started": (hooks._start_time(stranger.pid) or 0) + 1}
    (tmp_path / RUNNING_FILE).write_text(json.dumps(note))
    end_left_over(tmp_path)
    assert stranger.returncode is None
    (tmp_path / RUNNING_FILE).write_text(json.dumps(note | {"started": note["started"] - 1}))
    end_left_over(tmp_path)
    assert await stranger.wait() == -9


ROWS = [Row(f"prompt {i}", f"taught answer {i} and more") for i in range(40)]


def say(make) -> object:
    async def ask(prompt: str):
        return {"text": make(prompt), "finish_reason": "stop"}

    return ask


def taught(prompt: str) -> str:
    return f"taught answer {prompt.split()[1]} and more"


def untrained(_prompt: str) -> str:
    return "I know nothing of that"


async def test_a_served_model_is_told_from_the_untrained_one():
    rows = choose_rows(ROWS, 8)
    assert [row.prompt for row in rows] == [f"prompt {i}" for i in range(0, 40, 5)]
    served = await check_served(rows, 2, say(taught), say(untrained))
    assert (served.asked, served.learnt, served.changed, served.unsteady) == (8, 8, 8, 0)
    assert (await check_served(rows, 2, say(taught), None)).changed is None
    with pytest.raises(NotServed, match="adapter not loaded: all 8 answers"):
        await check_served(rows, 2, say(untrained), say(untrained))
    with pytest.raises(NotServed, match="none of 8 rows"):
        await check_served(rows, 2, say(lambda prompt: f"Assistant: {taught(prompt)}"), say(untrained))
    words = iter(range(1000))
    unsteady = await check_served(rows, 2, say(lambda prompt: f"{taught(prompt)} {next(words)}"), say(untrained))
    assert unsteady.unsteady == 8
    assert (await check_served([], 2, say(untrained), say(untrained))).asked == 0
