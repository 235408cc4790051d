"""`python -m benchmarks.stealth [--until HH:MM] [--report] [PREFIX ...]`: who finds the marks, as cells that add up.

Three kinds of cells, the embedded model being the attacker's: `battery/`, every detector on a dataset that is marked
as the product does it; `choice/`, the detectors that judge rows one by one against canaries of every k and w, more of
them than would be planted; `coverage/`, every detector on coverage marks in a quarter of the rows. Places and figures
alone are kept, no text.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger
from benchmarks.science.data import DATASETS
from validator.base_model import EMBEDDED_MODEL
from validator.edges.datasets import choose_rows
from validator.marks.coverage import K, apply_coverage, draw_coverage
from validator.marks.planting import find_markable
from validator.marks.rules import ALL_PROTECTED
from validator.marks.schemes import Canary, Scheme, make_scheme
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row
from validator.stealth.battery import DETECTORS, ROW_BY_ROW, make_markable, measure
from validator.stealth.detector import Detector
from validator.stealth.generator_ranks import make_opening_ranks, make_word_ranks
from validator.stealth.imitation import make_imitation
from validator.stealth.metrics import Ranking
from validator.stealth.summary import Pooled, find_breaches, pool_all

RESULTS = Path(__file__).with_name("stealth.json")
DATA = ("squad-questions", "sgd", "gsm8k", "roleplay", "recipes")
SEEDS = range(5)
SIZES = {16: 300, 20: 1_000}
"""Marks, and the rows among which they are planted."""
CHOICE_DATA, CHOICE_SEEDS = ("squad-questions", "sgd", "gsm8k"), range(3)
CHOICE_ROWS, CHOICE_MARKS = 300, 48
CHOICE_K, CHOICE_W = (2, 3, 4), (4, 3, 2)
COVERED_SHARE, MAX_LENGTH = 0.25, 256
Cell = Callable[[], dict[str, Any]]


def cells() -> Iterator[tuple[str, Cell]]:
    """Every cell with its name, one seed of everything before the next."""
    for seed in SEEDS:
        for n, rows in SIZES.items():
            for data in DATA:
                for scheme in ("canary", "backdoor") if rows < 1_000 else ("canary",):
                    yield (
                        f"battery/{scheme}/{data}/{n} of {rows}/{seed}",
                        partial(_battery, scheme, data, n, rows, seed),
                    )
        for data in DATA:
            yield f"coverage/{data}/{seed}", partial(_coverage, data, 300, seed)
        if seed in CHOICE_SEEDS:
            for data in CHOICE_DATA:
                for w in CHOICE_W:
                    for k in CHOICE_K:
                        yield f"choice/{data}/k={k} w={w}/{seed}", partial(_choice, data, k, w, seed)


def main(arguments: list[str]) -> None:
    until = arguments[arguments.index("--until") + 1] if "--until" in arguments else "99:99"
    if unknown := {a for a in arguments if a.startswith("--")} - {"--report", "--until"}:
        sys.exit(f"unknown option {unknown.pop()}\n{__doc__}")
    prefixes = tuple(a for a in arguments if not a.startswith("--") and a != until) or ("",)
    ledger = Ledger(RESULTS)
    for name, run in cells() if "--report" not in arguments else ():
        if time.strftime("%H:%M") >= until:
            break
        with ledger.claim(name) as is_ours:
            if not is_ours or not name.startswith(prefixes) or name in ledger.read()["cells"]:
                continue
            began_s = time.process_time()
            cell = run()
            ledger.store(name, cell | {"cost": {"cpu_s": round(time.process_time() - began_s, 1)}})
            print(name, f"{time.process_time() - began_s:.0f} s", flush=True)
    print(json.dumps(report(ledger.read()["cells"]), indent=1))


@cache
def _models() -> Any:
    from validator.edges.generator import LocalScorer
    from validator.stealth.local_model import LocalModel

    return LocalModel(EMBEDDED_MODEL), LocalScorer(EMBEDDED_MODEL)


def _rows(data: str, count: int, seed: int) -> list[Row]:
    return choose_rows(DATASETS[data].load(), count, seed)


def _stream(name: str) -> DrawStream:
    return DrawStream(sha256(f"stealth {name}".encode()).digest())


def _battery(scheme_name: str, data: str, n: int, count: int, seed: int) -> dict[str, Any]:
    _model, scorer = _models()
    scheme = make_scheme(scheme_name)
    ranks = make_opening_ranks(scorer, scheme)
    imitation = make_imitation(scheme, scorer, (*ROW_BY_ROW, *ranks))
    detectors = (*DETECTORS, make_markable(scheme), *ranks, imitation)
    return _planted(scheme, _rows(data, count, seed), n, f"{scheme_name} {data} {count} {seed}", detectors, seed)


def _choice(data: str, k: int, w: int, seed: int) -> dict[str, Any]:
    _model, scorer = _models()
    scheme = Canary(w=w, k=k)
    detectors = (*ROW_BY_ROW, *make_opening_ranks(scorer, scheme))
    return _planted(scheme, _rows(data, CHOICE_ROWS, seed), CHOICE_MARKS, f"choice {data} {seed}", detectors, seed)


def _planted(
    scheme: Scheme, rows: Sequence[Row], n: int, label: str, detectors: Sequence[Detector], seed: int
) -> dict[str, Any]:
    """Marks planted without the product's limits on n and K; refused where fewer than n rows can be marked."""
    model, scorer = _models()
    markable = find_markable(rows, scheme)
    if len(markable) < n:
        return {"refused": f"{len(markable)} of {len(rows)} rows can be marked"}
    stream = _stream(label)
    marks = scheme.plant(rows, stream.sample(markable, n), stream, scorer)
    planted = list(rows)
    for mark in marks:
        planted[mark.row_index] = mark.row
    marked = {mark.row_index for mark in marks}
    measured = measure(planted, marked, model, detectors=detectors, among=markable, seed=seed)
    return {"markable": len(markable) / len(rows), "detectors": measured}


def _coverage(data: str, count: int, seed: int) -> dict[str, Any]:
    model, scorer = _models()
    rows = _rows(data, count, seed)
    stream = _stream(f"coverage {data} {count} {seed}")
    chosen = sorted(stream.sample(range(count), round(COVERED_SHARE * count)))
    marks = draw_coverage(rows, chosen, stream, scorer, max_length=MAX_LENGTH)
    marked = {mark.row_index for mark in marks}
    detectors = (*DETECTORS, *make_word_ranks(scorer, ALL_PROTECTED, K))
    return {"detectors": measure(apply_coverage(rows, marks), marked, model, detectors=detectors, seed=seed)}


def report(results: dict[str, Any]) -> dict[str, Any]:
    """For each kind of cell, pooled over datasets and seeds: the worst detectors, and all that break the bar."""
    groups: dict[str, dict[str, list[Ranking]]] = defaultdict(lambda: defaultdict(list))
    for name, cell in results.items():
        kind, *rest = name.split("/")
        group = {"battery": f"battery/{rest[0]}", "choice": f"choice/{rest[-2]}"}.get(kind, kind)
        for detector, ranking in cell.get("detectors", {}).items():
            groups[group][detector].append(Ranking.from_json(ranking))
            if "among" in ranking:
                groups[f"{group}, among the markable"][detector].append(Ranking.from_json(ranking["among"]))
    return {group: _judge(pool_all(rankings), by_auc=group == "coverage") for group, rankings in groups.items()}


def _judge(pooled: Sequence[Pooled], *, by_auc: bool) -> dict[str, Any]:
    return {
        "worst by AUC": asdict(max(pooled, key=lambda one: one.auc)),
        "worst by data kept": asdict(min(pooled, key=lambda one: one.kept_for_half)),
        "breaches": [
            asdict(one) | {"recall": one.recall, "is_significant": is_significant}
            for one, is_significant in find_breaches(pooled, by_auc=by_auc)
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
