"""A real model, really trained by the script that is shipped, behind a server that loads adapters."""

import sys

import openai
import pytest

from tests.deploy.tools import DEPLOY
from tests.miner.place import Place
from tests.miner.test_faults import patiently
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.test_transcript import settle
from tests.miner_sim.world import SPEC, World, compact
from tests.unit.weights.lora_server import LoraServer
from validator.base_model.grammar import MODEL_DIRECTORY, generate_rows
from validator.edges.contract import TaskStatus
from validator.edges.key_files import create_private
from validator.protocol.state import Weights

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("miner"), pytest.mark.soak]


async def test_an_honest_miner_with_the_shipped_script_is_paid(world: World, place: Place):
    spec = compact(
        SPEC | {"method": "lora", "rank": 16, "epochs": 12, "learning_rate": 4e-3, "max_length": 256, "batch_size": 4}
    )
    server = LoraServer()
    create_private(place.directory / "api-key", "key\n")
    async with server.running() as url:
        changes = {
            "training": {
                "command": [
                    *(sys.executable, str(DEPLOY / "miner" / "train.py"), f"--base={MODEL_DIRECTORY}"),
                    *("--data={dataset}", "--spec={spec}", "--out={output}", "--progress={progress}"),
                ],
                "environment": {"OMP_NUM_THREADS": "1"},
            },
            "serving": {"url": f"{url}/v1", "api_key_file": "api-key"},
        }
        del place.tables["serving"]["base_model"]  # This server has adapters only.
        async with place.running_here(**changes):
            rows = generate_rows(300, seed=3)
            task = await world.open_task(place.signer.address, rows, spec, weights=Weights.DELIVERED)
            client = await place.client()
            job = await until_finished(client, await deliver(client, task))
            assert job.status == "succeeded", job.error
            delivered = Delivered(task, place.miner, client, job)
            for _, row in task.marks:
                await patiently(delivered, row.prompt)
            await settle(world, delivered)
            assert (await world.contract.task_state(task.task_id)).status is TaskStatus.PAID
            assert server.tokens == {"Bearer key"}
            with pytest.raises(openai.NotFoundError):
                await client.get(f"/touchstone/tasks/0x{task.task_id.hex()}/files/tokenizer.json", cast_to=object)
