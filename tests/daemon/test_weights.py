"""Whole rounds with returned weights: miners that train a real adapter or only say so, and a daemon that looks."""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon.live_world import (
    DURATIONS,
    LOOPBACK,
    REWARD_WEI,
    ROWS,
    SEED,
    LiveValidator,
    LiveWorld,
    MinerWish,
    Training,
    open_world,
)
from tests.e2e.command import run_touchstone
from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.base_model.grammar import generate_rows
from validator.control.client import ControlClient
from validator.edges.contract import TaskClosed, TaskOpened, TaskSettled
from validator.edges.key_files import create_private
from validator.edges.keys import derive_secret
from validator.evidence.bundle import NOT_HERE, Bundle
from validator.evidence.check import check_bundle
from validator.marks.schemes import make_scheme
from validator.plan.spec import TrainingSpec
from validator.plan.terms import compute_fee
from validator.protocol.commitment import Row, split_head
from validator.protocol.method import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE
from validator.protocol.state import Answer, TaskState, Weights
from validator.protocol.wire import encode_training_file
from validator.types import TaskId

SPEC = TrainingSpec(
    EMBEDDED_MODEL_NAME, epochs=22, learning_rate=8e-3, batch_size=16, max_length=96, method="lora", rank=32
)
N, K_PAY = 16, 12
W = make_scheme("canary").w
DATASETS = 5
"""At most, that share no prompt."""
HALF_TIME_S = DURATIONS.submitted_seconds // 2


def make_short_rows(count: int, number: int) -> list[Row]:
    """Rows whose responses are one word longer than a mark, so that an adapter learns them in seconds."""
    rows = generate_rows(count * DATASETS, seed=1)[count * number : count * (number + 1)]
    return [Row(row.prompt, " ".join(row.response.split(" ")[: W + 1])) for row in rows]


def asking_for(weights: Weights) -> Training:
    return Training(SPEC, EMBEDDED_MODEL, weights, make_short_rows)


async def see_tasks(world: LiveWorld) -> dict[str, dict[str, Any]]:
    """What the daemon says of each miner's last task that runs, by the miner's name."""
    async with ControlClient.connect(world.directory / "control.sock") as daemon:
        tasks = (await daemon.status())["tasks"]
    return {world.miners[task["miner"]].name: task for task in tasks}


async def until_doing(effect: str, name: str, world: LiveWorld, validator: LiveValidator) -> None:
    """Until the miner's task waits for nothing older than this."""

    async def is_so() -> bool:
        task = (await see_tasks(world)).get(name)
        return task is not None and task["oldest_effect"] == effect

    await world.wait_for(is_so, validator)


async def until_running(phases: dict[str, str], world: LiveWorld, validator: LiveValidator) -> None:
    """Until only these miners' tasks run, in these phases."""

    async def is_so() -> bool:
        return {name: task["phase"] for name, task in (await see_tasks(world)).items()} == phases

    await world.wait_for(is_so, validator)


async def task_of(name: str, world: LiveWorld) -> TaskId:
    """The miner's first task."""
    opened = [event for event in await world.events() if isinstance(event, TaskOpened)]
    return next(event.task_id for event in opened if world.miners[event.miner].name == name)


@dataclass(frozen=True)
class Evidence:
    """The published bundle of one task."""

    bundle: Bundle

    @classmethod
    async def fetch(cls, name: str, world: LiveWorld, validator: LiveValidator) -> "Evidence":
        """As anybody gets it, as soon as it is there; of the miner's first task."""
        task_id = await task_of(name, world)
        settled = [event for event in await world.events() if isinstance(event, TaskSettled)]
        bundle_hash = next(event.bundle_hash for event in settled if event.task_id == task_id)
        found: list[bytes] = []

        async def is_there() -> bool:
            url = f"http://{LOOPBACK}:{world.port}/bundles/0x{bundle_hash.hex()}"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                if answer.status == 200:
                    found.append(await answer.read())
            return bool(found)

        await world.wait_for(is_there, validator)
        bundle = Bundle.parse(found[0])
        assert bundle.bundle_hash == bundle_hash
        assert check_bundle(bundle) == []
        return cls(bundle)

    @property
    def hits(self) -> int:
        """Of what the miner signed."""
        return self._count([reply.answer for reply in self.bundle.replies if reply])

    @property
    def weights_hits(self) -> int:
        """Of what the returned weights answered at the validator's."""
        assert self.bundle.weights is not None
        assert len(self.bundle.weights.replies) == N
        assert [file.path for file in self.bundle.weights.files] == [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE]
        return self._count([reply.answer for reply in self.bundle.weights.replies if reply])

    def _count(self, answers: list[Answer]) -> int:
        heads = [split_head(marked.response, W)[0] for marked in self.bundle.rows]
        return sum(answer.head(W) == head for answer, head in zip(answers, heads, strict=True))


async def fetch_as_customer(task_id: TaskId, world: LiveWorld) -> dict[str, bytes]:
    """The files that `touchstone task fetch` brings for the request of this task."""
    config, target = world.write_config(in_flight=2, per_miner=1), world.home / "fetched"
    listed = await asyncio.to_thread(run_touchstone, "task", "list", "--json", "-", "--config", config)
    (request,) = [view for view in json.loads(listed.stdout) if view["tasks"][0]["task_id"] == f"0x{task_id.hex()}"]
    fetched = await asyncio.to_thread(
        run_touchstone, "task", "fetch", request["request_id"], target, "--config", config
    )
    assert fetched.returncode == 0, fetched.stderr
    return {path.name: path.read_bytes() for path in target.iterdir()}


async def submit_as_customer(world: LiveWorld, number: int) -> dict[str, Any]:
    """A request for a model of SPEC, delivered, by `touchstone task submit`; what the daemon says of it."""
    data, key, answer = (world.home / name for name in ("data.jsonl", "payer.key", "request.json"))
    data.write_bytes(encode_training_file(make_short_rows(ROWS[N], number)))
    create_private(key, derive_secret(SEED, "payer").reveal().hex() + "\n")
    options = asdict(SPEC) | {"reward": "0.001", "weights": "delivered", "payer-key-file": key, "json": answer}
    pairs = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    config = world.write_config(in_flight=2, per_miner=1)
    submitted = await asyncio.to_thread(run_touchstone, "task", "submit", data, *pairs, "--yes", "--config", config)
    assert submitted.returncode == 0, submitted.stderr
    request: dict[str, Any] = json.loads(answer.read_text())
    return request


def made_by(name: str, world: LiveWorld) -> dict[str, bytes]:
    """The adapter as it lies at the miner's."""
    (weights,) = (world.home / "miners" / name).glob(f"**/model/{ADAPTER_WEIGHTS_FILE}")
    return {path.name: path.read_bytes() for path in (weights.with_name(ADAPTER_CONFIG_FILE), weights)}


async def journal_of(world: LiveWorld) -> dict[str, TaskState]:
    """The first task of each miner in the journal of a validator that has ended, by the miner's name."""
    journal = world.open_journal()
    states = journal.replay()
    journal.close()
    return {wish.name: states[await task_of(wish.name, world)] for wish in world.miners.values()}


async def test_delivered_weights_reach_the_customer_and_contradict_whoever_looked_the_probes_up(tmp_path: Path) -> None:
    """W1, W4, W8, M12, P1: also over two deaths of the daemon, with whoever serves other bytes, and with nobody's."""
    miners = [
        MinerWish("honest", "honest"),
        MinerWish("lookup", "lookup"),
        MinerWish("other", "lookup", "other weights"),
        MinerWish("withholds", "lookup", "weights withheld"),
    ]
    share = {"in_flight": len(miners), "per_miner": 1}
    training = asking_for(Weights.DELIVERED)
    async with open_world(tmp_path, miners, tasks=len(miners) + 1, tasks_per_miner=2, training=training) as world:
        await world.hand_in([N] * len(miners))
        validator = await world.start_validator(**share)
        for effect, name in (("FetchWeights", "withholds"), ("ProbeWeights", "honest")):
            await until_doing(effect, name, world, validator)
            await validator.kill()
            validator = await world.start_validator(**share)
        await until_running({"withholds": "submitted"}, world, validator)
        await world.pass_seconds(HALF_TIME_S)
        await world.wait_until_closed(len(miners), validator)
        assert set((await world.outcomes()).values()) == {"paid"}

        honest = await Evidence.fetch("honest", world, validator)
        assert honest.hits >= K_PAY
        assert honest.weights_hits >= K_PAY
        looked_up = await Evidence.fetch("lookup", world, validator)
        assert (looked_up.hits, looked_up.weights_hits) == (N, 0)
        other, withheld = [(await Evidence.fetch(name, world, validator)).bundle for name in ("other", "withholds")]
        assert other.weights is not None
        assert "not the submitted ones" in (other.weights.fault or "")
        assert (withheld.weights.files, withheld.weights.fault) == ((), NOT_HERE)
        assert await fetch_as_customer(honest.bundle.task_id, world) == made_by("honest", world)

        await validator.stop()
        states = await journal_of(world)
        assert {name for name, state in states.items() if state.is_contradicted} == {"lookup"}
        others = [address for address, wish in world.miners.items() if wish.name != "lookup"]
        validator = await world.start_validator(**share, deny=others)
        request = await submit_as_customer(world, number=len(miners))
        assert (request["weights"], json.loads(request["spec"])) == ("delivered", asdict(SPEC))
        await world.wait_for(lambda: is_short_of_miners(world), validator)
        await validator.stop()
        assert len([event for event in await world.events() if isinstance(event, TaskOpened)]) == len(miners)


async def is_short_of_miners(world: LiveWorld) -> bool:
    async with ControlClient.connect(world.directory / "control.sock") as daemon:
        return (await daemon.status())["waits_for"] == "no miner is free that has enough stake"


@pytest.mark.soak  # A minute; a share is in tests/e2e/test_round.py.
async def test_judged_weights_are_paid_if_they_hit_and_refunded_if_only_the_replies_do(tmp_path: Path) -> None:
    """W8, C2: the validator is the committee, and nobody loses stake over bytes that it did not sign."""
    miners = [MinerWish("honest", "honest"), MinerWish("lookup", "lookup")]
    training = asking_for(Weights.JUDGED)
    async with open_world(tmp_path, miners, tasks=2, training=training) as world:
        await world.hand_in([N] * len(miners))
        before_wei = await world.contract.credits_wei(world.payer.address)
        validator = await world.start_validator(in_flight=2, per_miner=1)
        await until_running({"lookup": "judging"}, world, validator)
        await world.pass_deadlines(validator)
        looked_up = await Evidence.fetch("lookup", world, validator)
        assert (looked_up.hits, looked_up.weights_hits) == (N, 0)
        assert (await Evidence.fetch("honest", world, validator)).weights_hits >= K_PAY
        await validator.stop()

        outcomes = await world.outcomes()
        assert outcomes[await task_of("honest", world)] == "paid"
        assert outcomes[await task_of("lookup", world)] == "refunded"
        closed = [event for event in await world.events() if isinstance(event, TaskClosed)]
        assert [event.burned for event in closed] == [0, 0]
        spent_wei = before_wei - await world.contract.credits_wei(world.payer.address)
        assert spent_wei == REWARD_WEI + 2 * compute_fee(REWARD_WEI)
        assert await world.find_violations() == []
