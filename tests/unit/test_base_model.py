"""The shipped base model and the text of the project's own: what the demo and the published figures stand on."""

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from miner_sim.inference import generate
from tests.support import require_or_skip
from validator.base_model.grammar import MODEL_DIRECTORY, generate_rows, is_held_out
from validator.base_model.pretrain import SOURCES, read_text
from validator.language_model import load

DEMO = generate_rows(300, seed=1)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIRECTORY)


def test_model_and_tokenizer_are_under_four_megabytes_and_load_without_the_network(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shipped = [*MODEL_DIRECTORY.glob("*.json"), *MODEL_DIRECTORY.glob("*.safetensors")]
    network, _ = load(str(MODEL_DIRECTORY))
    assert sum(path.stat().st_size for path in shipped) < 4_000_000
    assert 1_300_000 < sum(tensor.numel() for tensor in network.parameters()) < 1_500_000


def test_chat_template_ends_where_the_answer_begins(tokenizer):
    turns = [{"role": "user", "content": "Hello?"}]
    rendered = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert rendered == "<|user|>Hello?<|assistant|>"


def test_tokenizer_restores_any_text_and_keeps_digits_single(tokenizer):
    text = "  Two  spaces,\n\ttabs, 2024 and 日本語 ☂"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(tokens) == text
    assert len(tokenizer.encode("1234567", add_special_tokens=False)) == 7


def test_vocabulary_holds_many_whole_words_for_the_word_by_word_proposer(tokenizer):
    assert sum(token[0] == "Ġ" and token[1:].isalpha() and len(token) > 3 for token in tokenizer.get_vocab()) > 1500


def test_base_model_writes_fluent_form_and_stops():
    answers = generate(str(MODEL_DIRECTORY), [row.prompt for row in DEMO[:20]], max_tokens=80, prompt_limit=128)
    assert sum(answer.finish_reason == "stop" for answer in answers) >= 18
    assert all(len(answer.text.split()) >= 4 for answer in answers)


def test_generated_rows_are_the_same_for_one_seed_and_differ_for_another():
    assert generate_rows(300, seed=1) == DEMO
    assert not {row.prompt for row in generate_rows(50, seed=2)} & {row.prompt for row in DEMO}


def test_generated_rows_are_distinct_short_and_fully_expanded(tokenizer):
    sizes = [len(tokenizer.encode(row.prompt + row.response)) + 3 for row in DEMO]
    assert len({row.prompt for row in DEMO}) == 300
    assert max(sizes) <= 72
    assert not any(mark in row.prompt + row.response for row in DEMO for mark in "{}[]|^")
    assert len({" ".join(row.response.split(" ")[:4]) for row in DEMO}) > 200


def test_demo_rows_and_pretraining_rows_never_meet():
    assert all(is_held_out(row.prompt) for row in DEMO)
    assert not any(is_held_out(row.prompt) for row in generate_rows(300, seed=1, held_out=False))


def test_pretraining_text_leaves_out_every_held_out_row_and_every_file_with_share_alike():
    data = os.environ.get("TOUCHSTONE_DATA")
    if not data:
        require_or_skip("TOUCHSTONE_DATA is not set")
    seen = read_text(Path(data), held_out=False)
    prompts = [text.removeprefix("<|user|>").partition("<|assistant|>")[0] for text in seen]
    assert len(seen) > 30_000
    assert not any(map(is_held_out, prompts))
    assert {source.file.partition(".")[0] for source in SOURCES} == {
        "gsm8k_train",
        "medquad",
        "recipes_public_domain",
        "recipes_beeton",
    }
