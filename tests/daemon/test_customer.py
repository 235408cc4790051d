"""A customer's whole way, in commands alone, with a validator that plants, opens, probes and settles by itself."""

import asyncio
import json
from pathlib import Path

from tests.daemon.live_miners import SEED, MinerWish
from tests.daemon.live_world import ETHER, REWARD_WEI, open_world
from tests.e2e.command import TOUCHSTONE, run_touchstone
from validator.base_model.grammar import generate_rows
from validator.config import DEV
from validator.edges.contract import TaskOpened
from validator.edges.key_files import create_private
from validator.edges.keys import derive_secret
from validator.plan.terms import compute_fee
from validator.protocol.wire import encode_training_file


async def test_a_request_is_planted_served_and_paid_and_its_marks_are_not_used_again_unasked(tmp_path: Path) -> None:
    """D5, V10; complaint 16, and 22: all of it runs on one machine, against a fresh chain."""
    async with open_world(tmp_path, [MinerWish("honest", "lookup")], tasks=2, durations=DEV.durations) as world:
        config, data, key = (
            world.write_config(in_flight=2, per_miner=1),
            tmp_path / "data.jsonl",
            tmp_path / "payer.key",
        )
        create_private(key, derive_secret(SEED, "payer").reveal().hex() + "\n")
        data.write_bytes(encode_training_file(generate_rows(300, seed=1)))

        async def run(*arguments: str | Path, status: int = 0) -> str:
            finished = await asyncio.to_thread(run_touchstone, *arguments, "--config", config)
            assert finished.returncode == status, finished.stdout + finished.stderr
            return finished.stdout + finished.stderr

        async def submit(*arguments: str | Path, status: int = 0) -> str:
            spec = ("--base-model", "tiny", "--epochs", "1", "--learning-rate", "0.001", "--reward", "0.001")
            signing = ("--payer-key-file", key, "--yes", "--json", tmp_path / "request.json")
            return await run("task", "submit", data, *spec, *signing, *arguments, status=status)

        async def is_paid() -> bool:
            shown = json.loads(await run("task", "list", "--json", "-"))
            assert not {view["stage"] for view in shown} - {"queued", "running", "paid"}, shown
            return all(view["stage"] == "paid" for view in shown)

        command = [str(TOUCHSTONE), "validator", "run", "--config", str(config)]
        validator = await world.start(command)
        await validator.wait_until_ready(0)
        before_wei = await world.contract.credits_wei(world.payer.address)
        await submit("--attempts", "2")
        await world.wait_for(is_paid, validator)

        request_id = json.loads((tmp_path / "request.json").read_text())["request_id"]
        shown = await run("task", "show", request_id)
        assert "16 of 16 probes hit (paid from 12, nobody is slashed)" in shown
        assert "attempts        1 of 2" in shown
        spent_wei = before_wei - await world.contract.credits_wei(world.payer.address)
        assert spent_wei == REWARD_WEI + compute_fee(REWARD_WEI)

        assert "16 prompts became public" in await submit(status=2)
        await submit("--reuse-revealed")
        await world.wait_for(is_paid, validator)
        opened = [event for event in await world.events() if isinstance(event, TaskOpened)]
        first, second = (event.terms for event in opened)
        assert first.dataset_root == second.dataset_root, "the same D is offered byte for byte"
        assert first.commitment != second.commitment

        status = json.loads(await run("validator", "status", "--json", "-"))
        assert (status["closed"], status["tasks"], status["transactions"]) == ({"paid": 2}, [], [])
        assert status["money"]["credit_wei"] >= ETHER
        exit_status, _seconds = await validator.stop()
        assert exit_status == 0
        told = await run("validator", "replay", "0x" + opened[0].task_id.hex())
        assert [line.split()[3] for line in told.splitlines() if not line.startswith(" ")][-2:] == [
            "TaskSettled",
            "TaskClosed",
        ]
