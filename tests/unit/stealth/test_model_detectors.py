"""Detectors that read the embedded model, and another architecture: what they find when there is something to find."""

import random

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tests.unit.stealth.marked import marked_rows
from validator.base_model import EMBEDDED_MODEL
from validator.base_model.grammar import generate_rows
from validator.language_model import load, prompt_tokens
from validator.protocol.commitment import Row
from validator.stealth.battery import DETECTORS, measure
from validator.stealth.local_model import MAX_LENGTH, LocalModel
from validator.stealth.metrics import rank_marks

BY_NAME = {detector.name: detector for detector in DETECTORS}
COUNT, MARKED = 48, 6


@pytest.fixture(scope="module")
def model():
    return LocalModel(EMBEDDED_MODEL)


def scrambled(rows: list[Row]) -> list[Row]:
    """The first rows with the first half of their words in another order."""
    dice = random.Random(0)

    def scramble(row: Row) -> Row:
        words = row.response.split(" ")
        half = len(words) // 2
        return Row(row.prompt, " ".join(dice.sample(words[:half], half) + words[half:]))

    return [scramble(row) if number < MARKED else row for number, row in enumerate(rows)]


def test_words_have_the_log_probabilities_of_their_tokens(model):
    """Against one plain forward pass, for words of many tokens, none, and several separators in a row."""
    network, tokenizer = load(EMBEDDED_MODEL)
    for row in (*generate_rows(3, 1), Row("a", "word"), Row("What?", "two  spaces and\na line, 12,345 \u2602 signs ")):
        prompt = prompt_tokens(tokenizer, row.prompt, MAX_LENGTH // 2)
        response = tokenizer.encode(row.response, add_special_tokens=False)
        with torch.inference_mode():
            logits = torch.log_softmax(network(torch.tensor([prompt + response])).logits[0], -1)
        expected = sum(float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(response))
        [values] = model.read([row])
        assert sum(values) == pytest.approx(expected, abs=1e-3)
        assert len(values) == len(row.response.split(" "))
        assert model.read([row], words=2)[0] == pytest.approx(values[:2], abs=1e-3)


def test_a_row_is_read_alike_in_every_company(model):
    rows = generate_rows(5, 2)
    together = model.read(rows)
    alone = [LocalModel(EMBEDDED_MODEL).read([row])[0] for row in rows[:2]]
    assert together[0] == pytest.approx(alone[0], abs=1e-3)
    assert together[1] == pytest.approx(alone[1], abs=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "mean likelihood",
        "most surprising word",
        "least likely window of 4 words",
        "least likely window of 8 words",
        "likelihood of the first 4 words",
        "likelihood of the opening against the rest",
        "likelihood of the first 4 words, adapted",
        "loss after half an epoch",
        "norm of the gradient",
    ],
)
def test_words_in_disorder_are_found(model, name):
    ranking = rank_marks(BY_NAME[name].suspicion(scrambled(generate_rows(COUNT, 3)), model), range(MARKED), seed=0)
    assert ranking.auc > 0.85, ranking


def test_a_word_that_does_not_belong_is_found_by_leaving_it_out(model):
    """ONION (Qi et al. 2020)."""
    rows = [
        Row(row.prompt, row.response.replace(" ", " xylophone9 ", 1) if number < MARKED else row.response)
        for number, row in enumerate(generate_rows(COUNT // 2, 4))
    ]
    assert rank_marks(BY_NAME["ONION, three largest"].suspicion(rows, model), range(MARKED), seed=0).auc > 0.9


def test_responses_to_other_prompts_are_found(model):
    rows = generate_rows(COUNT, 5)
    moved = [Row(row.prompt, rows[number + MARKED].response) for number, row in enumerate(rows[:MARKED])]
    mixed = moved + rows[:0] + rows[2 * MARKED :]
    ranking = rank_marks(BY_NAME["mismatch of prompt and response"].suspicion(mixed, model), range(MARKED), seed=0)
    assert ranking.auc > 0.8


def test_openings_of_other_rows_are_found_by_what_follows(model):
    rows = generate_rows(COUNT, 6)

    def opened(row: Row, other: Row) -> Row:
        return Row(row.prompt, " ".join(other.response.split(" ")[:4] + row.response.split(" ")[4:]))

    mixed = [opened(row, rows[number + 20]) if number < MARKED else row for number, row in enumerate(rows)]
    ranking = rank_marks(BY_NAME["mismatch of opening and rest"].suspicion(mixed, model), range(MARKED), seed=0)
    assert ranking.auc > 0.7


def test_the_papers_scheme_pulls_another_way(model):
    """Rows that share a pair share a gradient, and their loss falls first."""
    rows, marked = marked_rows("backdoor")
    chosen = [index for index in range(len(rows)) if index in marked or index < 64]
    part = [rows[index] for index in chosen]
    names = ("direction of the gradient", "change of loss by an epoch")
    figures = measure(
        part, [chosen.index(index) for index in marked], model, detectors=[BY_NAME[name] for name in names], seed=0
    )
    assert all(abs(figures[name]["auc"] - 0.5) > 0.25 for name in names), figures


def test_another_architecture_is_read_too(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    tokenizer.chat_template = tokenizer.pad_token = None
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=4096, n_positions=256, n_embd=32, n_layer=2, n_head=2, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    figures = measure(scrambled(generate_rows(12, 7)), range(MARKED), LocalModel(str(tmp_path)), seed=0)
    assert set(figures) == set(BY_NAME)


def test_without_a_model_only_words_are_read():
    rows = generate_rows(12, 8)
    assert set(measure(rows, range(2), None, seed=0)) == {d.name for d in DETECTORS if not d.reads_model}
    with pytest.raises(ValueError, match="reads a language model"):
        BY_NAME["mean likelihood"].suspicion(rows, None)
