"""One miner of one task: trained here, asked its probes after every epoch, measured by every yardstick that costs less.

What a cell keeps are numbers: no word of a dataset.
"""

import math
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.science.architectures import find_model
from benchmarks.science.losses import response_losses
from benchmarks.science.setting import MAX_LENGTH, Setting
from benchmarks.science.task import Task, prepare
from miner_sim.inference import perturb
from validator.edges.generator import LocalScorer
from validator.errors import BadInput
from validator.language_model import answer_greedily, load
from validator.protocol.commitment import Row, split_head
from validator.protocol.verdict import Thresholds, Verdict
from validator.protocol.wire import reply_head
from validator.training import Recipe, TrainingRequest, train

FRESH_PROMPTS = 100
NOISE_SIGMA = 0.5


def measure_miner(setting: Setting) -> dict[str, Any]:
    """Hits after every epoch, p-value, losses and costs; `{"refused": reason}` where the rows cannot be marked."""
    base_path = find_model(setting.model)
    stopwatch = _Stopwatch()
    try:
        task = prepare(setting, LocalScorer(base_path))
    except BadInput as error:
        return asdict(setting) | {"refused": str(error)}
    stopwatch.lap("planting")
    base, tokenizer = load(base_path)
    stopwatch.lap("loading")
    probes = _Probes(task, tokenizer)
    base_hits = len(probes.find_hits(base))
    stopwatch.lap("probing")
    base_losses, read_tokens = response_losses(base, tokenizer, task.planted, MAX_LENGTH)
    stopwatch.lap("losses")
    base_held_out = _mean_loss(base, tokenizer, task.held_out)

    hits_by_epoch: list[int] = []
    trained = _train(setting, task, base_path, lambda network: hits_by_epoch.append(len(probes.find_hits(network))))
    network = trained.pop("network")
    stopwatch.reset()
    hits = probes.find_hits(network)
    stopwatch.lap("probing")
    losses, _ = response_losses(network, tokenizer, task.planted, MAX_LENGTH)
    stopwatch.lap("losses")
    changes = [after - before for after, before in zip(losses, base_losses, strict=True)]
    return (
        asdict(setting)
        | _judge(task, len(hits))
        | {
            "digest": task.digest,
            "refusal": task.refusal,
            "base_hits": base_hits,
            "hits": len(hits),
            "hits_by_epoch": hits_by_epoch,
            "fresh": probes.count_planted(network),
            "loss_change": mean(changes),
            "loss_change_sd": stdev(changes),
            "held_out": len(task.held_out),
            "held_out_loss": _mean_loss(network, tokenizer, task.held_out),
            "held_out_base_loss": base_held_out,
            "tokens": {
                "marked": _count_tokens(tokenizer, task.planted),
                "unmarked": _count_tokens(tokenizer, task.rows),
                "read_for_losses": 2 * read_tokens,
                "probing": probes.tokens // probes.rounds,
            },
        }
        | trained
        | {"cost": trained["cost"] | {f"{name}_s": seconds for name, seconds in stopwatch.seconds.items()}}
    )


class _Stopwatch:
    """Processor seconds of this process, by what they went into."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        self._started = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._started
        self._started = now


class _Probes:
    """The validator's questions to a model; `tokens` counts what all rounds of them have cost."""

    def __init__(self, task: Task, tokenizer: Any) -> None:
        self._task = task
        self._tokenizer = tokenizer
        self._heads = [split_head(mark.row.response, task.scheme.w)[0] for mark in task.marks]
        self.tokens = 0
        self.rounds = 0

    def find_hits(self, network: Any) -> list[int]:
        """The numbers of the marks whose probe is a hit."""
        heads = self._ask(network, [mark.row for mark in self._task.marks])
        self.rounds += 1
        return [number for number, pair in enumerate(zip(heads, self._heads, strict=True)) if pair[0] == pair[1]]

    def count_planted(self, network: Any) -> dict[str, int]:
        """Planted openings in the answers to prompts that were never trained on and bear no trigger."""
        rows = self._task.held_out[:FRESH_PROMPTS]
        planted = set(self._heads)
        tokens = self.tokens
        count = sum(head in planted for head in self._ask(network, rows))
        self.tokens = tokens
        return {"asked": len(rows), "planted": count}

    def _ask(self, network: Any, rows: list[Row]) -> list[str | None]:
        scheme = self._task.scheme
        answers = answer_greedily(
            network, self._tokenizer, [row.prompt for row in rows], scheme.max_tokens, MAX_LENGTH // 2
        )
        self.tokens += sum(answer.prompt_tokens + answer.completion_tokens for answer in answers)
        return [reply_head(answer.text, is_cut=answer.finish_reason == "length", w=scheme.w) for answer in answers]


def _train(setting: Setting, task: Task, base_path: str, on_epoch: Any) -> dict[str, Any]:
    """The miner's network, what it trained on, and what that cost."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        if setting.miner in ("base", "noise"):
            model = base_path
            if setting.miner == "noise":
                model = str(directory / "model")
                perturb(base_path, directory / "model", NOISE_SIGMA, setting.seed)
            return {"network": load(model)[0], "marks_seen": 0, "trained_rows": 0, "cost": {"training_s": 0.0}}
        rows = _choose(setting, task)
        spec = setting.training
        recipe = Recipe(
            method="full" if spec.rank is None else "lora",
            epochs=setting.total_epochs,
            learning_rate=spec.learning_rate,
            batch_size=spec.batch_size,
            max_length=MAX_LENGTH,
            seed=setting.seed,
            rank=spec.rank,
        )
        last: list[Any] = []
        looked_s = 0.0

        def look(_epoch: int, network: Any) -> None:
            nonlocal looked_s
            started = time.process_time()
            on_epoch(network)
            last[:] = [network]
            looked_s += time.process_time() - started

        request = TrainingRequest(base_path, tuple(rows), directory / "model", directory / "events", recipe)
        result = train(request, look)
        (network,) = last
        network.train(False)
        marked = {mark.row for mark in task.marks}
        return {
            "network": network,
            "recipe": asdict(recipe),
            "marks_seen": sum(row in marked for row in rows),
            "trained_rows": len(rows),
            "trained_tokens": result.trained_tokens,
            "train_loss": result.train_loss,
            "cost": {"training_s": result.cpu_s - looked_s},
        }


def _choose(setting: Setting, task: Task) -> list[Row]:
    """The rows that this miner trains on."""
    match setting.miner.split(":"):
        case ["honest"]:
            return task.planted
        case ["unmarked"]:
            return task.rows
        case ["other"]:
            if len(task.other) < setting.rows:
                raise BadInput(f"{setting.data} has too few rows for a miner that trains on others")
            return task.other
        case ["partial", share]:
            return random.Random(setting.seed).sample(task.planted, round(float(share) * len(task.planted)))
    raise BadInput(f"unknown miner {setting.miner!r}")


def _judge(task: Task, hits: int) -> dict[str, Any]:
    n = len(task.marks)
    thresholds = Thresholds(n=n, k_pay=math.ceil(3 * n / 4), k_slash=0, slashing=False)
    verdict = Verdict(thresholds, hits, tuple(mark.draw.p0 for mark in task.marks), task.scheme.probes_per_draw(n))
    return {"n": n, "p0": verdict.p0[0], "p_value": verdict.p_value, "binomial_tail": verdict.tail}


def _mean_loss(network: Any, tokenizer: Any, rows: list[Row]) -> float | None:
    return mean(response_losses(network, tokenizer, rows, MAX_LENGTH)[0]) if rows else None


def _count_tokens(tokenizer: Any, rows: list[Row]) -> int:
    """Of prompts and responses, uncut: what one epoch costs."""
    return sum(len(ids) for row in rows for ids in tokenizer([row.prompt, row.response])["input_ids"])
