"""Any causal language model on disk works in place of the embedded one."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tests.e2e.command import by_strategy, simulate
from validator.base_model.grammar import generate_rows


@pytest.fixture
def gpt2_directory(tmp_path: Path) -> Path:
    """A small, untrained GPT-2 with a tokenizer of its own and no chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([row.response for row in generate_rows(300, 3)], trainer)
    directory = tmp_path / "tiny-gpt2"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>").save_pretrained(directory)
    config = GPT2Config(
        vocab_size=len(tokenizer.get_vocab()), n_positions=512, n_embd=32, n_layer=2, n_head=2, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(directory)
    return directory


def test_another_architecture_runs_the_whole_round(gpt2_directory: Path, tmp_path: Path) -> None:
    """Too small to learn in one epoch, so nobody is paid, and the status says so; but it plants, trains and answers."""
    arguments = ("--base-model", gpt2_directory, "--epochs", "1", "--miners", "honest=1,base=1")
    report = simulate(tmp_path, *arguments, status=1)
    assert [miner["verdict"] for miner in report["miners"]] == ["slashed", "slashed"]
    assert not report["is_as_expected"]
    assert by_strategy(report, "honest")[0]["marks_trained_on"] == 16
