"""Deliveries to a miner as a validator makes them, by the real `openai` client."""

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob

from miner_sim.fleet import RunningMiner
from tests.miner_sim.world import MAX_TOKENS, SPEC, Task


async def deliver(client: AsyncOpenAI, task: Task) -> FineTuningJob:
    """Upload the training file and create the job."""
    file = await client.files.create(file=("train.jsonl", task.training_file), purpose="fine-tune")
    return await client.fine_tuning.jobs.create(model=SPEC["base_model"], training_file=file.id, metadata=task.metadata)


async def until_finished(client: AsyncOpenAI, job: FineTuningJob) -> FineTuningJob:
    while job.finished_at is None:
        await asyncio.sleep(0.1)
        job = await client.fine_tuning.jobs.retrieve(job.id)
    return job


@dataclass(frozen=True)
class Delivered:
    """A task whose job has succeeded."""

    task: Task
    miner: RunningMiner
    client: AsyncOpenAI
    job: FineTuningJob

    def probe(self, prompt: str = "What is tea?") -> dict[str, Any]:
        message = {"role": "user", "content": prompt}
        return {"model": self.job.fine_tuned_model, "messages": [message], "temperature": 0, "max_tokens": MAX_TOKENS}

    async def ask(self, prompt: str) -> tuple[str, str]:
        """The text and the finish reason of a chat completion."""
        answer = await self.client.chat.completions.create(**self.probe(prompt))
        return answer.choices[0].message.content, answer.choices[0].finish_reason

    async def post(self, path: str, body: Any) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
        """Status, JSON body and headers of a plain POST, for what the client would not send."""
        headers = {"Authorization": f"Bearer {self.client.api_key}"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.miner.url}/v1{path}", json=body, headers=headers) as response,
        ):
            return response.status, await response.json(), response.headers

    async def transcript(self, prompt_hashes: list[str]) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
        path = f"/touchstone/tasks/0x{self.task.task_id.hex()}/transcript"
        return await self.post(path, {"prompt_hashes": prompt_hashes})
