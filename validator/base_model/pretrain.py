"""Train the embedded base model from nothing: `python -m validator.base_model.pretrain --data DIR --out DIR`.

Kept in the package so that the shipped weights have a source, not because anybody has to run it (about ten minutes on
one core). Rule it keeps: only text that the project may redistribute a model of, and never a held-out row, so that
published figures come from rows the base model did not see.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from validator.base_model.grammar import generate_rows, is_held_out
from validator.protocol.commitment import Row

SEED = 20
VOCABULARY = 4096
CONTEXT_TOKENS = 512
WINDOW_TOKENS, WINDOWS_PER_STEP = 256, 8
STEPS, WARM_UP_STEPS, DECAY_SHARE = 3600, 60, 0.4
PEAK_LEARNING_RATE = 3e-3
GRAMMAR_ROWS = 24_000
EOS, PAD, USER, ASSISTANT, SYSTEM = "<|eos|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|eos|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of `--data` and how much of each response is used, in characters (long answers add little form)."""

    file: str
    max_characters: int


SOURCES = [
    Source("gsm8k_train.jsonl", 2000),  # MIT
    Source("medquad.jsonl", 600),  # CC BY 4.0
    Source("recipes_public_domain.jsonl", 1200),  # Unlicense
    Source("recipes_beeton.jsonl", 1200),  # public domain
]


def read_text(data: Path, *, held_out: bool) -> list[str]:
    """Every usable row, rendered as it will be in training; a shortened response has no end marker."""
    texts = []
    for source in SOURCES:
        for line in (data / source.file).read_text("utf-8").rstrip("\n").split("\n"):
            row = Row(**json.loads(line))
            if is_held_out(row.prompt) == held_out:
                end = EOS if len(row.response) <= source.max_characters else ""
                texts.append(f"{USER}{row.prompt}{ASSISTANT}{row.response[: source.max_characters]}{end}")
    own_rows = generate_rows(GRAMMAR_ROWS // 20 if held_out else GRAMMAR_ROWS, SEED, held_out=held_out)
    return texts + [f"{USER}{row.prompt}{ASSISTANT}{row.response}{EOS}" for row in own_rows]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE; digits stay single, so that numbers are composed and not memorised."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, EOS, USER, ASSISTANT, SYSTEM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def batches(documents: list[list[int]]) -> Iterator[torch.Tensor]:
    """Endless batches of packed windows, reshuffled every epoch."""
    dice = random.Random(SEED)
    order = list(range(len(documents)))
    size = WINDOW_TOKENS * WINDOWS_PER_STEP
    stream: list[int] = []
    while True:
        dice.shuffle(order)
        for index in order:
            stream += documents[index]
            if len(stream) >= size:
                yield torch.tensor(stream[:size]).view(WINDOWS_PER_STEP, WINDOW_TOKENS)
                stream = stream[size:]


def learning_rate_at(step: int, steps: int) -> float:
    """Short warm-up, plateau, then linear decay to nothing."""
    decay = min(1.0, (steps - step) / (DECAY_SHARE * steps))
    return PEAK_LEARNING_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * decay


def pretrain(model: PreTrainedModel, documents: list[list[int]], steps: int) -> None:
    """Train a model from nothing on tokenized documents; prints its loss as it goes."""
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    started = time.monotonic()
    recent = 0.0
    for step, batch in zip(range(steps), batches(documents), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = compiled(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent = loss.item() if math.isclose(recent, 0.0) else 0.98 * recent + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {recent:.3f} {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """Train and write the model directory; prints the losses that the model card quotes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the JSONL files")
    parser.add_argument("--out", type=Path, required=True, help="directory to write the model to")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    texts = read_text(arguments.data, held_out=False)
    tokenizer = train_tokenizer(texts)
    documents = tokenizer(texts, add_special_tokens=False)["input_ids"]
    unseen = tokenizer(read_text(arguments.data, held_out=True), add_special_tokens=False)["input_ids"]
    own = sum(len(document) for document in documents[-GRAMMAR_ROWS:])
    print(f"{sum(map(len, documents)):,} tokens, of them {own:,} of the own grammar", flush=True)

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    pretrain(model, documents, STEPS)
    model.bfloat16().save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out, save_jinja_files=False)
    model.to(torch.float32)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, part in (("own", unseen[-GRAMMAR_ROWS // 20 :]), ("real", unseen[: -GRAMMAR_ROWS // 20])):
            windows = [window for _, window in zip(range(30), batches(part), strict=False)]
            held_out_loss = sum(model(input_ids=window, labels=window).loss.item() for window in windows) / len(windows)
            print(f"held-out loss on {name} text {held_out_loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
