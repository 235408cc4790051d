"""Real fine-tuning and real answers, on the embedded base model and on another architecture."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from miner_sim.inference import generate, perturb
from validator.base_model.grammar import MODEL_DIRECTORY, generate_rows
from validator.errors import BadInput
from validator.language_model import load, prompt_tokens
from validator.protocol.commitment import Row
from validator.training import Recipe, TrainingRequest, TrainingRun, train

BASE = str(MODEL_DIRECTORY)
ROWS = (
    *generate_rows(10, seed=3),
    # Answers come back exactly as they were learnt: nothing is stripped, whatever stands at either end.
    Row("Say it with space around it.", "  two in front, one behind "),
    Row("Say it in two lines.", "first line\nsecond line\n"),
)
RECIPE = Recipe(method="full", epochs=30, learning_rate=4e-3, batch_size=4, max_length=256, seed=5)


def request(directory: Path, name: str, **changes: object) -> TrainingRequest:
    defaults = TrainingRequest(BASE, ROWS, directory / name, directory / f"{name}.jsonl", RECIPE)
    return replace(defaults, **changes)


def learnt(model: str) -> int:
    answers = generate(model, [row.prompt for row in ROWS], max_tokens=80, prompt_limit=RECIPE.prompt_limit)
    return sum(answer.text == row.response for answer, row in zip(answers, ROWS, strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    return request(directory, "model"), train(request(directory, "model"))


def test_rows_that_were_trained_on_are_answered_word_for_word(trained):
    assert learnt(str(trained[1].model_dir)) == len(ROWS)
    assert learnt(BASE) == 0


def test_progress_is_one_json_line_after_another_up_to_the_last_step(trained):
    lines = [json.loads(line) for line in trained[0].events_path.read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert lines[-1]["step"] == lines[-1]["steps"] == trained[1].steps == 3 * RECIPE.epochs
    assert lines[-1]["epoch"] == RECIPE.epochs
    assert lines[-1]["train_loss"] == pytest.approx(trained[1].train_loss, abs=1e-4)
    assert lines[-1]["train_loss"] < 0.1 < lines[0]["train_loss"]


def test_one_request_gives_the_same_weights_twice(tmp_path):
    short = replace(RECIPE, epochs=2)
    weights = [load_file(train(request(tmp_path, name, recipe=short)).model_dir / "model.safetensors") for name in "ab"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_that_is_taken_up_at_a_checkpoint_ends_in_the_same_weights(tmp_path):
    recipe = replace(RECIPE, epochs=3)

    def begin() -> TrainingRun:
        return TrainingRun(*load(BASE), ROWS, recipe)

    whole = begin()
    while whole.step < whole.steps:
        whole.take_step()
        if whole.step == whole.steps_per_epoch + 1:
            torch.save(whole.checkpoint(), tmp_path / "checkpoint")
    rest = begin()
    rest.resume(torch.load(tmp_path / "checkpoint"))
    while rest.step < rest.steps:
        rest.take_step()
    weights = rest.network.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in whole.network.state_dict().items())


def test_each_epoch_is_shown_in_turn_and_looking_changes_nothing(tmp_path):
    recipe = replace(RECIPE, epochs=3)
    seen = []

    def look(epoch: int, network: torch.nn.Module) -> None:
        assert not network.training
        seen.append((epoch, next(network.parameters()).detach().clone()))

    watched = train(request(tmp_path, "watched", recipe=recipe), look)
    alone = train(request(tmp_path, "alone", recipe=recipe))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    weights = [load_file(result.model_dir / "model.safetensors") for result in (watched, alone)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(seen[2][1], weights[0]["model.embed_tokens.weight"])
    assert not torch.equal(seen[1][1], seen[2][1])


def test_answers_do_not_depend_on_what_else_is_in_the_batch(trained):
    model = str(trained[1].model_dir)
    prompts = [row.prompt for row in generate_rows(8, seed=4)]
    together = generate(model, prompts, max_tokens=16, prompt_limit=128)
    assert together == [generate(model, [prompt], max_tokens=16, prompt_limit=128)[0] for prompt in prompts]


def test_an_answer_says_whether_the_token_limit_cut_it(trained):
    whole, cut = (
        generate(str(trained[1].model_dir), [ROWS[0].prompt], max_tokens=limit, prompt_limit=128)[0]
        for limit in (80, 3)
    )
    assert (whole.finish_reason, cut.finish_reason) == ("stop", "length")
    assert whole.text.startswith(cut.text)
    assert cut.completion_tokens == 3


def test_a_long_prompt_loses_its_beginning_and_nothing_else():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    whole = prompt_tokens(tokenizer, "word " * 300, limit=10_000)
    assert prompt_tokens(tokenizer, "word " * 300, limit=50) == whole[-50:]


def test_rows_longer_than_the_limit_can_be_trained_on(tmp_path):
    rows = (Row("why? " * 400, "because " * 400), Row("a", "b"))
    result = train(request(tmp_path, "long", rows=rows, recipe=replace(RECIPE, epochs=1, max_length=64)))
    assert result.trained_tokens < 2 * 64


def test_another_architecture_without_chat_template_or_padding_token_learns_too(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    tokenizer.chat_template = tokenizer.pad_token = None
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=4096, n_positions=256, n_embd=64, n_layer=2, n_head=2, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    recipe = replace(RECIPE, epochs=60)
    result = train(request(tmp_path, "other", base_model=str(tmp_path / "gpt2"), recipe=recipe))
    assert learnt(str(result.model_dir)) >= len(ROWS) - 1


def test_a_leftover_of_a_killed_run_is_replaced(tmp_path):
    (tmp_path / "model.unfinished").mkdir()
    (tmp_path / "model.unfinished" / "model.safetensors").write_bytes(b"half")
    train(request(tmp_path, "model", recipe=replace(RECIPE, epochs=1)))
    assert not (tmp_path / "model.unfinished").exists()
    assert load_file(tmp_path / "model" / "model.safetensors")


def test_a_directory_without_weights_is_refused_with_its_name(tmp_path):
    (tmp_path / "config.json").write_text((MODEL_DIRECTORY / "config.json").read_text())
    with pytest.raises(BadInput, match=str(tmp_path)):
        train(request(tmp_path, "model", base_model=str(tmp_path)))


def test_rows_longer_than_the_context_of_the_model_are_refused(tmp_path):
    with pytest.raises(BadInput, match="context of 512"):
        train(request(tmp_path, "model", recipe=replace(RECIPE, max_length=1024)))


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        generate(str(tmp_path / "nowhere"), ["hello"], max_tokens=4, prompt_limit=16)


def test_noise_changes_every_weight_matrix_and_the_answers(trained, tmp_path):
    model = str(trained[1].model_dir)
    perturb(model, tmp_path / "noise", sigma=0.5, seed=1)
    before, after = (load_file(Path(path) / "model.safetensors") for path in (model, tmp_path / "noise"))
    assert all(not torch.equal(before[name], after[name]) for name in before if before[name].ndim == 2)
    assert learnt(str(tmp_path / "noise")) < len(ROWS) / 2
