"""Probing fetched weights, in a child or at a server of our own; where that does not work, there is no verdict."""

import os
import signal
from pathlib import Path

import pytest

from tests.edges.loopback import always, serving
from tests.unit.weights.adapters import (
    ADAPTER,
    BASE,
    MAX_TOKENS,
    PROMPTS,
    ROWS,
    W,
    change_config,
    copy,
    describe,
    trained,
)
from tests.unit.weights.lora_server import LoraServer
from validator.child_processes import JobLimits
from validator.config import DEV
from validator.edges.http import HttpClient
from validator.edges.openai_server import OpenAIProber
from validator.errors import MinerFault
from validator.model_work import Children, ModelWork
from validator.protocol.commitment import split_head
from validator.protocol.state import Answer
from validator.weights.returned import NoVerdict, probe_weights

LIMITS = JobLimits(wall_s=120, cpu_s=120, memory_bytes=8 << 30)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("models"), ADAPTER)


def all_hit(answers: list[Answer]) -> bool:
    heads = [split_head(answer.text, W)[0] for answer in answers]
    return heads == [split_head(row.response, W)[0] for row in ROWS]


async def ask(
    directory: Path,
    base_model: str = BASE,
    *,
    work: ModelWork | None = None,
    limits: JobLimits = LIMITS,
    server: OpenAIProber | None = None,
) -> list[Answer]:
    files = describe(directory, ADAPTER)
    return await probe_weights(
        work or Children(1), base_model, directory, files, ADAPTER, PROMPTS, MAX_TOKENS, limits=limits, server=server
    )


async def test_honest_weights_hit_in_a_child(adapter):
    """W1, P12."""
    assert all_hit(await ask(adapter))


async def test_a_fault_in_a_child_is_a_fault_here(adapter, tmp_path):
    directory = copy(adapter, tmp_path / "bad", ADAPTER)
    change_config(directory, r=9)
    with pytest.raises(MinerFault, match="r is not 8"):
        await ask(directory)


@pytest.mark.parametrize(
    "limits",
    [JobLimits(wall_s=0.2), JobLimits(wall_s=60, cpu_s=1), JobLimits(wall_s=60, memory_bytes=1 << 24)],
    ids=["hangs", "computes without end", "needs too much memory"],
)
async def test_a_child_that_comes_to_no_end_says_nothing_about_the_miner(adapter, limits):
    """M13, P12: tried twice, then the task goes on without."""
    with pytest.raises(NoVerdict, match="could not be probed"):
        await ask(adapter, limits=limits)


async def test_a_base_model_that_cannot_be_loaded_says_nothing_about_the_miner(adapter, tmp_path):
    with pytest.raises(NoVerdict, match="cannot be loaded"):
        await ask(adapter, str(tmp_path))


class FirstJobIsKilled(Children):
    """A machine whose memory runs out for a moment: the kernel kills the first job."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs = 0

    async def run(self, function, *args, limits):
        self.jobs += 1
        return await (
            super().run(die, limits=limits) if self.jobs == 1 else super().run(function, *args, limits=limits)
        )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_a_child_that_dies_is_tried_once_more(adapter):
    """M13."""
    work = FirstJobIsKilled()
    assert all_hit(await ask(adapter, work=work))
    assert work.jobs == 2


async def test_an_adapter_is_probed_at_a_server_of_our_own(adapter):
    server = LoraServer()
    async with server.running() as url, HttpClient(DEV) as http:
        assert all_hit(await ask(adapter, server=OpenAIProber(http, url + "/", "our key")))
    assert server.calls[:2] == ["/v1/unload_lora_adapter", "/v1/load_lora_adapter"]
    assert server.calls[2:] == ["/v1/chat/completions"] * len(PROMPTS) + ["/v1/unload_lora_adapter"]
    assert server.adapters == {}
    assert server.tokens == {"Bearer our key"}
    assert (adapter / "checked" / "adapter_config.json").stat().st_size < 500


async def test_what_breaks_the_rules_never_reaches_the_server(adapter, tmp_path):
    """M7, M8."""
    directory = copy(adapter, tmp_path / "bad", ADAPTER)
    change_config(directory, target_modules=["lm_head"])
    server = LoraServer()
    async with server.running() as url, HttpClient(DEV) as http:
        with pytest.raises(MinerFault, match="no linear module"):
            await ask(directory, server=OpenAIProber(http, url))
    assert server.calls == []


async def test_a_server_of_ours_that_refuses_says_nothing_about_the_miner(adapter):
    async with serving(always(status=400)) as url, HttpClient(DEV) as http:
        with pytest.raises(NoVerdict, match="HTTP 400"):
            await ask(adapter, server=OpenAIProber(http, url))
