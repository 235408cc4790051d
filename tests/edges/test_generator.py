"""The word generator: scores are the model's own log-probabilities, for any causal model, embedded or not."""

import hashlib
import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from validator.base_model.grammar import MODEL_DIRECTORY, generate_rows
from validator.edges.generator import MAX_CONTEXT_TOKENS, LocalScorer
from validator.errors import BadInput
from validator.language_model import load, prompt_tokens
from validator.protocol.commitment import split_head

EMBEDDED = str(MODEL_DIRECTORY)
ROWS = generate_rows(60, seed=9)
WORDS = ["the", "kitchen", "Certainly:", "antidisestablishmentarianism", "7", "日本", "it"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> str:
    """Another architecture, with a tokenizer of its own and no chat template."""
    directory = tmp_path_factory.mktemp("gpt2")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=["<eos>"], initial_alphabet=alphabet)
    bpe.train_from_iterator((f"{row.prompt} {row.response}" for row in ROWS), trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<eos>").save_pretrained(directory)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=600, n_positions=512, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(directory)
    return str(directory)


@pytest.fixture(scope="module", params=["embedded", "gpt2"])
def model(request: pytest.FixtureRequest) -> str:
    return EMBEDDED if request.param == "embedded" else request.getfixturevalue("gpt2")


@pytest.fixture(scope="module")
def scorer(model: str) -> LocalScorer:
    return LocalScorer(model)


def teacher_forced(model: str, prompt: str, prefix: str, word: str) -> float:
    """Log-probability of the word by one plain forward pass over the whole text, without cache or batch."""
    network, tokenizer = load(model)
    ids = prompt_tokens(tokenizer, prompt, MAX_CONTEXT_TOKENS)
    ids = (ids + tokenizer.encode(prefix, add_special_tokens=False))[-MAX_CONTEXT_TOKENS:]
    word_ids = tokenizer.encode((" " if prefix else "") + word, add_special_tokens=False)
    with torch.inference_mode():
        logits = network(torch.tensor([ids + word_ids])).logits[0]
    steps = torch.log_softmax(logits, dim=-1)[len(ids) - 1 : -1]
    return float(steps[range(len(word_ids)), word_ids].sum())


@pytest.mark.parametrize("prefix", ["", "We", "We can meet in the"])
def test_scores_are_log_probabilities_of_whole_words(model, scorer, prefix):
    scores = scorer.score("Where shall we meet?", prefix, WORDS)
    for word, score in zip(WORDS, scores, strict=True):
        assert score == pytest.approx(teacher_forced(model, "Where shall we meet?", prefix, word), abs=1e-3)
        assert score < 0


def test_a_word_scores_the_same_alone_and_among_others(scorer):
    together = scorer.score("Why?", "Because", WORDS)
    alone = [scorer.score("Why?", "Because", [word])[0] for word in WORDS]
    assert together == pytest.approx(alone, abs=1e-3)


def test_probabilities_of_single_tokens_sum_to_one(gpt2):
    _, tokenizer = load(gpt2)
    scorer = LocalScorer(gpt2)
    vocabulary = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
    single = [text for text in vocabulary if len(tokenizer.encode(text, add_special_tokens=False)) == 1]
    scores = scorer.score("Why?", "", sorted(set(single)))
    assert 0.5 < sum(map(math.exp, scores)) <= 1 + 1e-4


def test_only_the_end_of_a_long_context_counts_and_it_fits(model, scorer):
    long = "word " * 5_000
    assert scorer.score("A" + long, "It is", ["so", "it"]) == pytest.approx(
        scorer.score("B" + long, "It is", ["so", "it"]), abs=1e-4
    )


def test_the_embedded_model_finds_what_was_written_more_plausible_than_what_was_not():
    scorer = LocalScorer(EMBEDDED)
    others = [split_head(row.response, 1)[0] for row in ROWS]
    ranks = []
    for row in ROWS[:20]:
        head, _ = split_head(row.response, 3)
        prefix, _, word = head.rpartition(" ")
        words = [word, *(other for other in dict.fromkeys(others) if other != word)]
        scores = scorer.score(row.prompt, prefix, words)
        ranks.append(sorted(scores, reverse=True).index(scores[0]))
    assert sum(rank < 3 for rank in ranks) >= 15


def test_a_directory_is_identified_by_its_weights(gpt2):
    with open(f"{gpt2}/model.safetensors", "rb") as weights:  # noqa: PTH123
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    assert LocalScorer(gpt2).identity == f"sha256:{digest}"
    assert LocalScorer(EMBEDDED).identity != LocalScorer(gpt2).identity


@pytest.mark.parametrize("kept", [(), ("config.json",), ("config.json", "tokenizer.json", "tokenizer_config.json")])
def test_a_directory_without_weights_is_bad_input(tmp_path, kept):
    for name in kept:
        (tmp_path / name).write_bytes((MODEL_DIRECTORY / name).read_bytes())
    with pytest.raises(BadInput, match="cannot be loaded as a causal language model") as refused:
        LocalScorer(str(tmp_path))
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_that_are_no_safetensors_are_bad_input(tmp_path):
    """M10: a pickle is never opened."""
    for path in MODEL_DIRECTORY.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match="cannot be loaded"):
        LocalScorer(str(tmp_path))


def test_damaged_weights_are_bad_input(tmp_path):
    """M1: a header that is longer than its file."""
    for path in MODEL_DIRECTORY.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadInput, match="cannot be loaded"):
        LocalScorer(str(tmp_path))


def test_a_model_that_brings_its_own_code_is_not_run(tmp_path):
    """M8."""
    marker = tmp_path / "ran"
    (tmp_path / "config.json").write_text(
        '{"model_type":"custom","auto_map":{"AutoConfig":"evil.Config","AutoModelForCausalLM":"evil.Model"}}'
    )
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(BadInput):
        LocalScorer(str(tmp_path))
    assert not marker.exists()
