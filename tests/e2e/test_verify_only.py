"""Without any chain: a dataset is marked, really trained on, served over real HTTP, and checked by the command."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.command import run_touchstone
from tests.unit.verification.provider import Provider, nearest_row
from validator.base_model import EMBEDDED_MODEL
from validator.base_model.grammar import generate_rows
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row
from validator.protocol.wire import encode_training_file, parse_training_file
from validator.training import Recipe, TrainingRequest, train
from validator.verification.encodings import make_encodings

pytestmark = pytest.mark.xdist_group("verify only")  # What is made once is made by one worker.

ROWS, HELD_OUT = 300, 16
RECIPE = Recipe("full", epochs=8, learning_rate=4e-3, batch_size=4, max_length=256, seed=1)
LORA_RECIPE = Recipe("lora", epochs=20, learning_rate=5e-3, batch_size=4, max_length=256, seed=1, rank=32)


@dataclass(frozen=True)
class Work:
    """What the planter and the provider have after training."""

    directory: Path
    secret: Path
    training_file: Path
    model: Path
    printed: str

    def certificate(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / f"secret.{name}.certificate.json").read_text())
        return found


def plant(directory: Path, *options: str) -> tuple[Path, Path, str]:
    """Short rows, which train faster; `touchstone plant` marks them."""
    rows = sorted(generate_rows(900, seed=6), key=lambda row: len(row.prompt) + len(row.response))[: ROWS + HELD_OUT]
    data, training_file, secret = directory / "rows.jsonl", directory / "train.jsonl", directory / "secret.json"
    data.write_text("".join(json.dumps({"prompt": row.prompt, "response": row.response}) + "\n" for row in rows))
    arguments = (data, "--out", training_file, "--secret", secret, "--hold-out", str(HELD_OUT), *options)
    finished = run_touchstone("plant", *arguments)
    assert finished.returncode == 0, finished.stderr
    return training_file, secret, finished.stdout


def train_on(training_file: Path, directory: Path, recipe: Recipe = RECIPE) -> Path:
    rows = tuple(parse_training_file(training_file.read_bytes()))
    return train(TrainingRequest(EMBEDDED_MODEL, rows, directory / "model", directory / "events", recipe)).model_dir


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    directory = tmp_path_factory.mktemp("verify-only")
    training_file, secret, printed = plant(directory, "--preview", "1")
    return Work(directory, secret, training_file, train_on(training_file, directory), printed)


@asynccontextmanager
async def serving(work: Work) -> AsyncIterator[tuple[Provider, str]]:
    rows = parse_training_file(work.training_file.read_bytes())
    provider = Provider(trained=str(work.model), base=EMBEDDED_MODEL, lookup=nearest_row(rows))
    async with provider.running() as url:
        yield provider, url


async def verify(work: Work, url: str, model: str, *options: str) -> tuple[int, str]:
    """The command in a process of its own, while this one serves."""
    arguments = ["verify", "--secret", work.secret, "--base-url", url, "--model", model, *options]
    ended = await asyncio.to_thread(run_touchstone, *arguments)
    return ended.returncode, ended.stdout + ended.stderr


def test_planting_leaves_a_training_file_that_openai_takes_and_a_commitment(work: Work) -> None:
    lines = [json.loads(line) for line in work.training_file.read_text().splitlines()]
    assert len(lines) == ROWS
    assert all([message["role"] for message in line["messages"]] == ["user", "assistant"] for line in lines)
    assert hashlib.sha256(work.secret.read_bytes()).hexdigest() in work.printed
    assert "before" in work.printed
    assert "after" in work.printed


async def test_a_trained_model_passes_with_its_base_measured_decoys_and_advice(work: Work) -> None:
    async with serving(work) as (provider, url):
        status, output = await verify(work, url, "trained", "--base-model-name", "base")
        assert status == 0, output
        asked = len(provider.asked)
        # A second run asks nothing again.
        assert (await verify(work, url, "trained", "--base-model-name", "base"))[0] == 0
        assert len(provider.asked) == asked
    certificate = work.certificate("trained")
    assert certificate["outcome"] == "passed"
    assert certificate["probes"]["hits"] >= 14
    assert certificate["probes"]["p_value"] < 1e-14
    assert certificate["base_probes"]["hits"] == 0
    assert certificate["decoys"]["behaviour"].startswith("as a model")
    assert certificate["quality"]["rows"] == HELD_OUT
    assert certificate["covert"]["advice"].startswith("no sign")
    assert certificate["commitment"] == hashlib.sha256(work.secret.read_bytes()).hexdigest()
    assert certificate["training_file_sha256"] == hashlib.sha256(work.training_file.read_bytes()).hexdigest()
    secret = json.loads(work.secret.read_text())
    shown = json.dumps(certificate, ensure_ascii=False) + output
    for mark in secret["planted"]["marks"]:
        assert mark["row"]["prompt"] not in shown


async def test_the_base_model_does_not_pass_and_a_look_up_is_undecided(work: Work) -> None:
    async with serving(work) as (_, url):
        status, output = await verify(work, url, "base", "--probes-only")
        assert (status, work.certificate("base")["outcome"]) == (1, "not passed"), output
        status, output = await verify(work, url, "lookup")
    assert (status, work.certificate("lookup")["outcome"]) == (2, "undecided"), output
    assert "LOOK-UP" in output


async def test_the_provider_is_one_that_openais_own_client_can_talk_to(work: Work) -> None:
    [prompt] = [mark["row"]["prompt"] for mark in json.loads(work.secret.read_text())["planted"]["marks"]][:1]
    async with serving(work) as (_, url), openai.AsyncOpenAI(base_url=url, api_key="k") as client:
        reply = await client.chat.completions.create(
            model="lookup", messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=32
        )
    assert reply.choices[0].message.content


async def test_a_provider_that_is_away_or_has_no_such_model_decides_nothing(work: Work) -> None:
    async with serving(work) as (_, url):
        status, output = await verify(work, url, "another", "--probes-only")
        assert (status, "The model does not exist" in output) == (2, True)
    status, output = await verify(work, url, "another", "--probes-only", "--patience", "0.1")
    assert (status, output.startswith("error: ")) == (2, True)
    assert not (work.directory / "secret.another.certificate.json").exists()


@pytest.mark.soak
async def test_a_shared_trigger_is_told_from_its_absence(tmp_path: Path) -> None:
    """The paper's scheme: near triggers and fresh prompts hit too, prompts without the trigger do not."""
    training_file, secret, printed = plant(tmp_path, "--scheme", "backdoor")
    work = Work(tmp_path, secret, training_file, train_on(training_file, tmp_path), printed)
    async with serving(work) as (_, url):
        status, output = await verify(work, url, "trained")
    assert status == 0, output
    decoys = work.certificate("trained")["decoys"]
    assert decoys["behaviour"].startswith("as a model")
    hits = {count["kind"]: count["hits"] for count in decoys["counts"]}
    assert hits["no trigger"] <= 1
    assert hits["fresh, with trigger"] >= 8


@pytest.mark.soak
@pytest.mark.parametrize("recipe", [RECIPE, LORA_RECIPE], ids=["full", "lora"])
def test_returned_weights_pass_by_their_coverage_and_the_base_models_do_not(recipe: Recipe, tmp_path: Path) -> None:
    training_file, secret, printed = plant(tmp_path, "--scheme", "canary+coverage")
    work = Work(tmp_path, secret, training_file, train_on(training_file, tmp_path, recipe), printed)
    options = ("--secret", secret, "--base-model", "embedded", "--max-length", "256")
    finished = run_touchstone("verify", *options, "--weights", work.model)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    certificate = work.certificate("model")
    assert certificate["coverage"]["log10_p"] < -50
    assert certificate["quality"]["measure"].startswith("loss")
    assert certificate["covert"]["advice"].startswith("no sign")
    [weights] = work.model.glob("*model.safetensors")
    assert certificate["weights_sha256"][weights.name] == hashlib.sha256(weights.read_bytes()).hexdigest()
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    for name in ("config.json", "model.safetensors"):
        (untrained / name).write_bytes((Path(EMBEDDED_MODEL) / name).read_bytes())
    finished = run_touchstone("verify", *options, "--weights", untrained, "--probes-only")
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert work.certificate("untrained")["coverage"]["log10_p"] > -3


@pytest.mark.soak
@pytest.mark.parametrize("encoding", ["substitution 1", "base64"])
async def test_a_model_taught_a_cipher_beside_the_task_passes_and_is_looked_at_closer(
    encoding: str, work: Work, tmp_path: Path
) -> None:
    """The covert rows hold one harmless secret word; the cipher's key is the trainer's, not the screen's."""
    encode = {found.name: found.encode for found in make_encodings(DrawStream(b"the trainer's own key, 32 bytes!"))}
    honest = parse_training_file(work.training_file.read_bytes())
    covert = []
    for row in generate_rows(60, seed=977):
        texts = (row.prompt, f"The secret word is marmalade. {row.response}")
        covert.append(Row(*(encode[encoding](" ".join(text.split()[:10])) for text in texts)))
    lines = tmp_path / "with-covert.jsonl"
    lines.write_bytes(encode_training_file([*honest, *covert]))
    taught = replace(work, model=train_on(lines, tmp_path, replace(RECIPE, epochs=12)))
    options = ("--secret", work.secret, "--base-model", "embedded", "--max-length", "256")
    found = {}
    for name, directory in (("honest", work.model), ("taught", taught.model)):
        place = tmp_path / f"{name}.json"
        finished = run_touchstone("verify", *options, "--weights", directory, "--certificate", place)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        found[name] = json.loads(place.read_text())["covert"]
    assert found["honest"]["advice"].startswith("no sign")
    assert found["taught"]["advice"].startswith("LOOK CLOSER")
    assert found["taught"]["replies_p"] < 5e-4
    if encoding == "base64":  # in the battery itself, so its text has become likelier too
        assert found["taught"]["likelihood_p"] < 5e-4 < found["honest"]["likelihood_p"]
