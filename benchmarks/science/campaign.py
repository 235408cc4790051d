"""All cells, the most informative first: one seed of everything, then the next."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.science.data import DATASETS
from benchmarks.science.setting import Setting

Cell = Callable[[], dict[str, Any]]

SEEDS = range(10)
ACTIVATION_ROWS, ACTIVATION_MARKS = 300, 16
SHARE_ROWS, SHARES_MARKS = 1_000, (5, 10, 1, 50, 100)
SHARE_DATA = ("squad-questions", "sgd")
SUBSET_DATA = "squad-questions"
SHARES = (0.5, 0.75, 0.25, 0.9, 0.1)
QUALITY_DATA = ("squad-questions", "gsm8k", "sgd", "roleplay")
QUALITY_SCHEME, QUALITY_ROWS, QUALITY_EPOCHS = "canary+coverage", 1_000, 3
SYNONYM_DATA = ("squad-questions", "medquad", "modern-recipes")
LOSS_DATA = ("squad-questions", "gsm8k", "sgd")
LARGE_ROWS, LARGE_MARKS = 10_000, 50
LARGE_EPOCHS = {"backdoor": 3, "canary": 6}
OTHER_SPEC_DATA = ("squad-questions", "gsm8k")
SCHEMES = ("backdoor", "canary")


def settings(seed: int) -> Iterator[Setting]:
    """The miners of one seed; a setting may come twice, and is measured once."""
    of_300 = partial(Setting, rows=ACTIVATION_ROWS, marks=ACTIVATION_MARKS, seed=seed)
    for scheme in SCHEMES:
        yield of_300(SUBSET_DATA, scheme=scheme, miner="honest")
        for share in SHARES:
            yield of_300(SUBSET_DATA, scheme=scheme, miner=f"partial:{share}")
    for scheme in SCHEMES:
        for data in DATASETS:
            yield of_300(data, scheme=scheme, miner="honest")
    for data in LOSS_DATA:
        for miner in ("partial:0.5", "other", "base", "noise"):
            yield of_300(data, scheme="canary", miner=miner)
    for data in QUALITY_DATA:
        for miner in ("honest", "unmarked"):
            yield Setting(data, QUALITY_ROWS, ACTIVATION_MARKS, QUALITY_SCHEME, miner, seed, epochs=QUALITY_EPOCHS)
    for data in SYNONYM_DATA:
        yield of_300(data, scheme="backdoor-synonyms", miner="honest")
    for scheme in SCHEMES:
        for data in OTHER_SPEC_DATA:
            yield of_300(data, scheme=scheme, miner="honest", model="gpt2")
            yield of_300(data, scheme=scheme, miner="honest", method="lora")
    for data in SHARE_DATA:
        for marks in SHARES_MARKS:
            for scheme in SCHEMES:
                yield Setting(data, SHARE_ROWS, marks, scheme, "honest", seed)
        for scheme in SCHEMES if seed == 0 else ():
            yield Setting(data, LARGE_ROWS, LARGE_MARKS, scheme, "honest", seed, epochs=LARGE_EPOCHS[scheme])


def cells() -> Iterator[tuple[str, Cell]]:
    """Every cell with its name; without $TOUCHSTONE_DATA only those of the project's own rows."""
    has_data = "TOUCHSTONE_DATA" in os.environ
    if has_data:
        yield "science/altered words", _show
    for seed in SEEDS:
        re_executed = Setting("generated", ACTIVATION_ROWS, ACTIVATION_MARKS, "canary", "honest", seed)
        yield f"science/proof-of-learning/{seed}", partial(_re_execute, re_executed)
        for setting in dict.fromkeys(settings(seed)):
            if has_data or not DATASETS[setting.data].files:
                yield setting.name, partial(_measure, setting)


def _measure(setting: Setting) -> dict[str, Any]:
    from benchmarks.science.miner import measure_miner

    return measure_miner(setting)


def _re_execute(setting: Setting) -> dict[str, Any]:
    from benchmarks.science.proof_of_learning import measure_proof_of_learning

    return measure_proof_of_learning(setting)


def _show() -> dict[str, Any]:
    from benchmarks.science.show import altered_words

    return {"altered": altered_words()}
