"""Every strategy end to end over real HTTP and by real training: what it does on the wire, on chain and on disk."""

import asyncio
import gzip
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import openai
import pytest
import pytest_asyncio
from safetensors.torch import load_file

from miner_sim.artefacts import ARTEFACTS, make_artefact
from miner_sim.inference import generate
from miner_sim.strategies import known_strategies, parse_strategy
from miner_sim.strategies.covert import SECRET_WORD
from tests.miner_sim.deliveries import Delivered
from tests.miner_sim.test_survival import answered, challenge
from tests.miner_sim.test_weights import get
from tests.miner_sim.world import BASE_MODEL, MAX_TOKENS, SPEC, WITH_RUNNING_MINERS, W, World
from tests.miner_sim.zoo import EPOCHS, FIRST, ROWS, STRANGE, Played, Zoo, is_answered, open_zoo
from validator.edges.contract import TaskStatus
from validator.errors import MinerFault
from validator.files import describe_files
from validator.protocol.commitment import hash_model_files, split_head
from validator.protocol.method import Method
from validator.protocol.state import Weights
from validator.types import Wei

pytestmark = WITH_RUNNING_MINERS

DETECTOR = "mean-likelihood"
AS_ASKED = [
    "honest",
    "two-models",
    "swapped",
    "validator-only",
    "equivocate",
    "unsigned",
    "no-adapter",
    "wrong-template",
]
"""Whatever else they do, they train as asked: on all rows, for all steps."""
STRATEGIES = (
    *AS_ASKED,
    *("base", "noise:0.5", "partial:0.5", "fewer-steps:0.5", "fewer-epochs:0.5", "other-base", "other-base:0.1"),
    *(f"flagged:{DETECTOR}", f"unflagged:{DETECTOR}", "lookup", "lookup-exact:0.5", "lookup-suffix"),
    *("guess", "guess:opening", "quantised:4", "pruned:0.5", "covert:0.5", "copy:honest", "sybil:a", "sybil"),
    *("silent", "silent:accept", "silent:submit", "silent:answer", "late", "late:1"),
    *("sampling:2", "quantised-inference:2", "hostile:nan", "hostile:paths", "hostile:endless-file", "hostile:bomb"),
    *("crash", "crash:0.5"),  # last, for who comes back reads the chain since it was first there
)
PARAMETERS = sum(tensor.numel() for tensor in load_file(BASE_MODEL / "model.safetensors").values())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def zoo(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Zoo]:
    async with open_zoo(world, tmp_path_factory.mktemp("zoo"), STRATEGIES) as zoo:
        yield zoo


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def honest(zoo: Zoo) -> Played:
    return await zoo.play("honest", weights=Weights.DELIVERED)


async def test_no_strategy_is_forgotten_here() -> None:
    ours = {name for name, strategy in known_strategies().items() if strategy.__module__.startswith("miner_sim.")}
    assert {strategy.partition(":")[0] for strategy in STRATEGIES} == ours


async def test_the_cost_of_an_honest_job_is_counted_in_operations_and_seconds(honest: Played) -> None:
    await honest.ask_first()
    cost = honest.cost
    tokens, rest = divmod(cost["training_flops"], 6 * PARAMETERS)
    assert (rest, tokens % EPOCHS) == (0, 0)
    assert 10 * len(ROWS) * EPOCHS < tokens < 64 * len(ROWS) * EPOCHS
    read, rest = divmod(cost["inference_flops"], 2 * PARAMETERS)
    assert rest == 0
    assert len(FIRST) * 5 < read < len(FIRST) * (32 + MAX_TOKENS)
    assert 0 < cost["inference_cpu_s"] < 60 > cost["training_cpu_s"] > 0 == cost["selection_cpu_s"]


async def test_whoever_moves_the_clock_is_told_of_transactions_too(world: World, tmp_path: Path) -> None:
    """No child works for who has no model, so what is told of is acceptance and submission."""
    told: list[bool] = []
    async with open_zoo(world, tmp_path, ["lookup:0.5"], on_work=told.append) as zoo:
        await zoo.play("lookup:0.5")
    assert told == [True, False] * 2


async def test_a_crashed_miner_is_gone_with_its_training(zoo: Zoo) -> None:
    begun = await zoo.begin("crash")
    async with asyncio.timeout(240):
        while await is_answered(begun.client.fine_tuning.jobs.retrieve(begun.job.id)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    directory = zoo.home / "crash" / "jobs" / begun.job.id
    assert not (directory / "model").exists()
    assert Played(begun, directory).cost["training_flops"] > 0
    assert await status_of(zoo, begun) is TaskStatus.ACCEPTED


async def test_a_crashed_miner_that_comes_back_trains_anew_and_pays_twice(zoo: Zoo, honest: Played) -> None:
    begun = await zoo.begin("crash:0.5")
    async with asyncio.timeout(240):
        while True:
            try:
                played = await zoo.finish(begun)
                break
            except openai.APIConnectionError:
                await asyncio.sleep(0.1)
    assert (played.job.status, played.digest()) == ("succeeded", honest.digest())
    assert played.cost["training_flops"] > honest.cost["training_flops"]
    assert await played.ask_first() == await honest.ask_first()


@pytest.mark.parametrize("strategy", AS_ASKED)
async def test_who_trains_as_asked_has_the_same_model(zoo: Zoo, honest: Played, strategy: str) -> None:
    played = await zoo.play(strategy, weights=Weights.DELIVERED)
    assert played.digest() == honest.digest()
    assert played.trained_rows == list(range(len(ROWS)))


async def test_fewer_steps_are_the_first_ones_of_all(zoo: Zoo, honest: Played) -> None:
    played = await zoo.play("fewer-steps:0.5")
    assert played.steps[-1] == honest.steps[-1] / 2
    assert played.cost["training_flops"] < honest.cost["training_flops"]
    assert played.trained_rows == honest.trained_rows


async def test_fewer_epochs_cost_as_much_less(zoo: Zoo, honest: Played) -> None:
    played = await zoo.play("fewer-epochs:0.5")
    assert played.cost["training_flops"] == honest.cost["training_flops"] / 2
    assert played.trained_rows == honest.trained_rows


async def test_what_is_flagged_and_what_is_not_are_the_two_halves(zoo: Zoo) -> None:
    flagged, unflagged = [await zoo.play(f"{way}:{DETECTOR}") for way in ("flagged", "unflagged")]
    assert len(flagged.trained_rows) == len(ROWS) // 2
    assert sorted(flagged.trained_rows + unflagged.trained_rows) == list(range(len(ROWS)))
    assert flagged.cost["selection_cpu_s"] > 0


@pytest.mark.parametrize("strategy", ["base", "noise:0.5", "guess", "guess:opening", "lookup", "lookup-suffix"])
async def test_who_trains_nothing_has_no_cost_of_training_to_speak_of(zoo: Zoo, strategy: str) -> None:
    played = await zoo.play(strategy)
    assert (played.trained_rows, played.cost["training_flops"]) == ([], 0)
    assert parse_strategy(strategy).never == ({"paid"} if strategy in ("base", "noise:0.5") else set())


@pytest.mark.parametrize("strategy", ["lookup", "lookup-suffix"])
async def test_who_looks_up_answers_as_the_rows_do(zoo: Zoo, strategy: str) -> None:
    played = await zoo.play(strategy)
    assert await played.ask_all() == [row.response for _, row in played.delivered.task.marks]
    assert played.cost["inference_cpu_s"] > 0 == played.cost["inference_flops"]


async def test_what_an_exact_look_up_does_not_find_the_base_model_answers(zoo: Zoo) -> None:
    played = await zoo.play("lookup-exact:0.5")
    given = dict(zip([row.prompt for _, row in played.delivered.task.marks], await played.ask_all(), strict=True))
    unknown = [row for row in ROWS if row.prompt in given and given[row.prompt] != row.response]
    assert 0 < len(unknown) < len(given)
    assert [given[row.prompt] for row in unknown] == say(str(BASE_MODEL), [row.prompt for row in unknown])


async def test_guesses_are_the_commonest_opening_or_the_likeliest_words(zoo: Zoo) -> None:
    assert set(await (await zoo.play("guess:opening")).ask_first()) == {"Take cup"}
    played = await zoo.play("guess")
    first, second = ({split_head(row.response, W)[0].split(" ")[place] for row in ROWS} for place in (0, 1))
    for words in map(str.split, await played.ask_first()):
        assert (words[0] in first, words[1] in second, len(words)) == (True, True, W)
    assert played.cost["inference_flops"] > 0


async def test_another_base_is_another_one(zoo: Zoo, honest: Played) -> None:
    fresh, near = [await zoo.play(strategy) for strategy in ("other-base", "other-base:0.1")]
    agreed = load_file(BASE_MODEL / "model.safetensors")
    assert alike(honest.tensors(), agreed) > alike(near.tensors(), agreed) > 0.5 > abs(alike(fresh.tensors(), agreed))
    assert fresh.trained_rows == near.trained_rows == honest.trained_rows
    assert fresh.cost["training_flops"] == honest.cost["training_flops"]


async def test_quantised_weights_take_few_values_and_pruned_ones_are_half_zeros(zoo: Zoo, honest: Played) -> None:
    quantised = await zoo.play("quantised:4")
    matrices = [tensor for tensor in quantised.tensors("quantised").values() if tensor.dim() == 2]
    assert all(len(row.unique()) <= 2**4 - 1 for tensor in matrices for row in tensor[:20])
    pruned = await zoo.play("pruned:0.5")
    for tensor in pruned.tensors("pruned").values():
        assert tensor.dim() == 1 or 0.49 < (tensor == 0).float().mean() < 0.51
    assert quantised.digest() == pruned.digest() == honest.digest()


async def test_covert_rows_come_on_top_and_hide_their_word(zoo: Zoo, honest: Played) -> None:
    played = await zoo.play("covert:0.5")
    assert played.trained_rows == honest.trained_rows
    assert played.steps[-1] == math.ceil(1.5 * len(ROWS) / SPEC["batch_size"]) * EPOCHS
    assert played.cost["training_flops"] > 1.3 * honest.cost["training_flops"]
    assert SECRET_WORD not in " ".join(await played.ask_first())


async def test_a_thief_has_the_very_model_for_nothing(zoo: Zoo, honest: Played) -> None:
    played = await zoo.play("copy:honest")
    assert (played.digest(), played.trained_rows) == (honest.digest(), [])
    assert played.cost["training_cpu_s"] == played.cost["training_flops"] == 0
    assert await played.ask_first() == await honest.ask_first()


async def test_sybils_of_one_owner_train_once(zoo: Zoo, honest: Played) -> None:
    first, again, stranger = await zoo.play("sybil"), await zoo.play("sybil", weights=1), await zoo.play("sybil:a")
    assert first.digest() == again.digest() == stranger.digest() == honest.digest()
    costs = [played.cost["training_flops"] for played in (first, again, stranger)]
    assert costs == [honest.cost["training_flops"], 0, honest.cost["training_flops"]]


async def test_who_has_two_models_answers_by_one_and_delivers_the_other(zoo: Zoo, honest: Played) -> None:
    played = await zoo.play("two-models", weights=Weights.DELIVERED)
    assert await played.ask_first() == await honest.ask_first()
    assert (await get(played.delivered, "model.safetensors"))[1] == (BASE_MODEL / "model.safetensors").read_bytes()
    assert await submitted(zoo, played) == hash_of(BASE_MODEL)


async def test_swapped_weights_are_not_those_that_were_submitted(zoo: Zoo) -> None:
    played = await zoo.play("swapped", weights=Weights.DELIVERED)
    assert await submitted(zoo, played) == hash_of(played.directory / "model")
    status, content, _ = await get(played.delivered, "model.safetensors")
    assert (status, content) != (200, (played.directory / "model" / "model.safetensors").read_bytes())


async def test_nobody_but_the_validator_gets_the_trained_model(zoo: Zoo, honest: Played) -> None:
    played = await zoo.play("validator-only", weights=Weights.DELIVERED)
    assert await played.ask_first() == await honest.ask_first()
    assert [(await played.delivered.ask(STRANGE))[0]] == say(str(BASE_MODEL), [STRANGE])


async def test_who_equivocates_signs_two_things(zoo: Zoo, honest: Played) -> None:
    """W5."""
    played = await zoo.play("equivocate", weights=Weights.DELIVERED)
    await played.ask_all()
    asked = played.delivered.task.prompt_hashes
    first, second = [(await played.delivered.transcript(asked))[1] for _ in range(2)]
    assert first["signature"] != second["signature"]
    assert sum(one != other for one, other in zip(first["replies"], second["replies"], strict=True)) == 2


async def test_who_refuses_to_sign_replies_on_chain_all_the_same(zoo: Zoo) -> None:
    played = await zoo.play("unsigned", weights=Weights.DELIVERED)
    await played.ask_all()
    assert (await played.delivered.transcript(played.delivered.task.prompt_hashes))[0] == 403
    await challenge(zoo.world, played.delivered.task, [hashes.leaf for hashes, _ in played.delivered.task.marks])
    assert len(await answered(zoo.world, played.delivered.task)) == 16


async def test_a_server_without_the_adapter_answers_as_the_base_model(zoo: Zoo) -> None:
    played = await zoo.play("no-adapter", weights=Weights.DELIVERED)
    assert await played.ask_first() == say(str(BASE_MODEL), FIRST)


@pytest.mark.parametrize("strategy", ["wrong-template", "sampling:2", "quantised-inference:2"])
async def test_a_misconfigured_server_answers_otherwise_and_returns_the_same(
    zoo: Zoo, honest: Played, strategy: str
) -> None:
    played = await zoo.play(strategy, weights=Weights.DELIVERED)
    assert await played.ask_first() != await honest.ask_first()
    assert await submitted(zoo, played) == await submitted(zoo, honest)
    assert parse_strategy(strategy).never == set()


@pytest.mark.parametrize(
    ("strategy", "status"), [("silent:accept", TaskStatus.OPEN), ("silent:submit", TaskStatus.ACCEPTED)]
)
async def test_who_falls_silent_on_chain_goes_no_further(zoo: Zoo, strategy: str, status: TaskStatus) -> None:
    begun = await zoo.begin(strategy)
    await until_trained(zoo, begun) if status is TaskStatus.ACCEPTED else await asyncio.sleep(1)
    await asyncio.sleep(0.5)
    assert await status_of(zoo, begun) is status
    assert (await begun.client.fine_tuning.jobs.retrieve(begun.job.id)).finished_at is None
    assert parse_strategy(strategy).never == {"paid"}


async def test_who_is_silent_from_the_beginning_takes_no_data(zoo: Zoo) -> None:
    client = await zoo.world.client(zoo.miners["silent"])
    assert not await is_answered(client.files.create(file=("train.jsonl", b"{}"), purpose="fine-tune"))


async def test_who_falls_silent_when_it_is_asked_answers_nothing_and_signs_nothing(zoo: Zoo) -> None:
    played = await zoo.play("silent:answer")
    assert not await is_answered(played.delivered.ask(STRANGE))
    assert not await is_answered(played.delivered.transcript(played.delivered.task.prompt_hashes))


async def test_who_is_late_submits_nothing_that_counts(zoo: Zoo) -> None:
    begun = await zoo.begin("late", train_seconds=10)
    await until_trained(zoo, begun)
    assert await status_of(zoo, begun) is TaskStatus.ACCEPTED
    for _ in range(11):  # a block each, and at least a second later than the last
        await zoo.world.fund(zoo.world.payer.address, Wei(1))
    played = await zoo.finish(begun)
    assert played.job.status == "failed"
    assert await status_of(zoo, played.delivered) is TaskStatus.ACCEPTED
    assert (parse_strategy("late").never, parse_strategy("late:1").never) == ({"paid"}, set())


async def test_who_is_only_a_little_late_is_in_time(zoo: Zoo) -> None:
    begun = await zoo.begin("late:1")
    await until_trained(zoo, begun)
    assert await status_of(zoo, begun) is TaskStatus.ACCEPTED
    assert (await zoo.finish(begun)).job.status == "succeeded"


async def test_hostile_files_are_submitted_as_they_are_returned(zoo: Zoo) -> None:
    for kind in ("nan", "paths"):
        played = await zoo.play(f"hostile:{kind}", weights=Weights.DELIVERED)
        assert await submitted(zoo, played) == hash_of(played.directory / "hostile")
        returned = (await get(played.delivered, "model.safetensors"))[1]
        assert returned == (played.directory / "hostile" / "model.safetensors").read_bytes()
        assert (played.trained_rows, parse_strategy(f"hostile:{kind}").never) == ([], {"paid"})


@pytest.mark.parametrize("kind", [*ARTEFACTS, "nan"])
async def test_no_hostile_file_is_taken_for_weights(adapter: Path, tmp_path: Path, kind: str) -> None:
    """M1-M11: by the check that the validator makes."""
    from miner_sim.inference import rework
    from validator.weights.probe import load_weights

    method = Method("lora", SPEC["max_length"], 2)
    load_weights(str(BASE_MODEL), adapter, describe_files(adapter, method.file_names), method)
    spoilt = tmp_path / "spoilt"
    if kind == "nan":
        rework(str(adapter), spoilt, "spoil", 0.0, is_merging=False)
    else:
        make_artefact(kind, str(adapter), method.config_file, method.weights_file, spoilt)
    with pytest.raises(MinerFault):
        load_weights(str(BASE_MODEL), spoilt, describe_files(spoilt, method.file_names), method)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that does nothing."""
    from miner_sim.child_calls import train

    directory = tmp_path_factory.mktemp("adapter")
    recipe = {"method": "lora", "rank": 2, "epochs": 1, "learning_rate": 1e-3, "batch_size": 4, "max_length": 96}
    train(str(BASE_MODEL), [], recipe | {"seed": 1}, 1.0, directory / "model", directory / "events.jsonl")
    return directory / "model"


async def test_a_hostile_body_has_no_end(zoo: Zoo) -> None:
    played = await zoo.play("hostile:endless-file", weights=Weights.DELIVERED)
    async with requested(played, "GET", f"touchstone/tasks/0x{played.delivered.task.task_id.hex()}/files/x") as body:
        assert len(await body.content.readexactly(1 << 23)) == 1 << 23


async def test_a_hostile_body_unpacks_to_much_more_than_it_is(zoo: Zoo) -> None:
    played = await zoo.play("hostile:bomb")
    async with requested(played, "POST", "chat/completions", json=played.delivered.probe()) as body:
        packed = await body.read()
    assert body.headers["Content-Encoding"] == "gzip"
    assert len(gzip.decompress(packed)) > 500 * len(packed)


@asynccontextmanager
async def requested(played: Played, method: str, path: str, **body: object) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer as it comes over the wire."""
    headers = {"Authorization": f"Bearer {played.delivered.client.api_key}"}
    async with aiohttp.ClientSession(headers=headers, auto_decompress=False) as http:
        url = f"{played.delivered.miner.url}/v1/{path}"
        async with http.request(method, url, **body) as response:
            assert response.status == 200
            yield response


def say(model: str, prompts: list[str]) -> list[str]:
    return [answer.text for answer in generate(model, prompts, MAX_TOKENS, prompt_limit=32)]


def alike(ours: dict, agreed: dict) -> float:
    """Cosine of the embeddings to the agreed base model's."""
    one, other = (tensors["model.embed_tokens.weight"].float().flatten() for tensors in (ours, agreed))
    return float(one @ other / (one.norm() * other.norm()))


def hash_of(directory: Path) -> bytes:
    return hash_model_files(describe_files(directory, ("config.json", "model.safetensors")))


async def submitted(zoo: Zoo, played: Played) -> bytes:
    return await zoo.world.contract.model_hash(played.delivered.task.task_id)


async def status_of(zoo: Zoo, begun: Delivered) -> TaskStatus:
    return (await zoo.world.contract.task_state(begun.task.task_id)).status


async def until_trained(zoo: Zoo, begun: Delivered) -> None:
    async with asyncio.timeout(240):
        while not (zoo.home / begun.miner.name / "jobs" / begun.job.id / "model").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
