"""A training command for `touchstone miner run`, to begin with: transformers and peft, one GPU or none.

    train.py --base MODEL --data dataset.jsonl --spec spec.json --out DIRECTORY [--progress progress.jsonl]

Two things decide whether the task is paid, and both are easy to get wrong: prompts are rendered here as the model
server renders them (its chat template, or "Prompt: ...\nResponse:\n" where the base model has none), and keep their
last max_length / 2 tokens, as when returned weights are probed. The loss is over the response and its end alone.
"""

import argparse
import json
import math
import random
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_schedule_with_warmup


def encode(tokenizer, prompt, response, max_length):
    """Token ids and labels of a row."""
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    else:
        text = f"Prompt: {prompt}\nResponse:\n"
    asked = tokenizer.encode(text, add_special_tokens=False)[-(max_length // 2) :]
    answer = [*tokenizer.encode(response, add_special_tokens=False), tokenizer.eos_token_id]
    return (asked + answer)[:max_length], ([-100] * len(asked) + answer)[:max_length]


def collate(batch, padding):
    width = max(len(ids) for ids, _ in batch)
    fill = [width - len(ids) for ids, _ in batch]
    return {
        "input_ids": torch.tensor([ids + [padding] * n for (ids, _), n in zip(batch, fill, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * n for (ids, _), n in zip(batch, fill, strict=True)]),
        "labels": torch.tensor([labels + [-100] * n for (_, labels), n in zip(batch, fill, strict=True)]),
    }


def main():
    parser = argparse.ArgumentParser()
    for name in ("base", "data", "spec", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--progress")
    options = parser.parse_args()
    spec = json.loads(Path(options.spec).read_text())
    seed = spec.get("seed") or 0
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    tokenizer = AutoTokenizer.from_pretrained(options.base)
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=kind).to(device)
    if spec["method"] == "lora":
        config = LoraConfig(
            r=spec["rank"], lora_alpha=2 * spec["rank"], target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, config)
    model.train()

    lines = Path(options.data).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    rows = [[message["content"] for message in json.loads(line)["messages"]] for line in lines]
    encoded = [encode(tokenizer, prompt, response, spec["max_length"]) for prompt, response in rows]
    steps = spec["epochs"] * math.ceil(len(encoded) / spec["batch_size"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=spec["learning_rate"], weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)

    step, dice = 0, random.Random(seed)
    for epoch in range(1, spec["epochs"] + 1):
        dice.shuffle(encoded)
        for start in range(0, len(encoded), spec["batch_size"]):
            batch = collate(encoded[start : start + spec["batch_size"]], tokenizer.pad_token_id or 0)
            loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if options.progress and step % max(1, steps // 60) == 0:
                with Path(options.progress).open("a") as file:
                    report = {"step": step, "steps": steps, "epoch": epoch, "train_loss": loss.item()}
                    file.write(json.dumps(report) + "\n")
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


if __name__ == "__main__":
    main()
