"""The tables of docs/results.md, each from the cells that are there; empty text where there is none."""

from collections import defaultdict
from statistics import mean
from typing import Any

from benchmarks.science.answers import first_half
from benchmarks.science.campaign import (
    ACTIVATION_MARKS,
    ACTIVATION_ROWS,
    LARGE_EPOCHS,
    LARGE_ROWS,
    QUALITY_DATA,
    QUALITY_EPOCHS,
    QUALITY_ROWS,
    SCHEMES,
    SHARE_DATA,
    SHARE_ROWS,
    SHARES,
    SUBSET_DATA,
)
from benchmarks.science.claims import PAPER_ACTIVATION
from benchmarks.science.data import DATASETS
from benchmarks.science.figures import (
    Cell,
    activation,
    honest_miners,
    loss_change,
    miners,
    paired_changes,
    passing,
    percent,
    power_of_ten,
    quote,
    relative_change,
    spread,
    table,
)
from validator.marks.coverage import count_marks
from validator.plan.subset import chance_of_passing

NEEDED = 12
"""Hits of 16 that pay, the default."""


def activation_section(results: dict[str, Any]) -> str:
    columns = [
        ("backdoor, full", {"scheme": "backdoor", "method": "full", "model": "llama"}),
        ("canary, full", {"scheme": "canary", "method": "full", "model": "llama"}),
        ("backdoor, LoRA", {"scheme": "backdoor", "method": "lora", "model": "llama"}),
        ("canary, LoRA", {"scheme": "canary", "method": "lora", "model": "llama"}),
        ("backdoor, GPT-2", {"scheme": "backdoor", "method": "full", "model": "gpt2"}),
        ("canary, GPT-2", {"scheme": "canary", "method": "full", "model": "gpt2"}),
    ]
    refused = {
        (name, cell["scheme"]): cell["refused"]
        for name in DATASETS
        for cell in results["cells"].values()
        if "refused" in cell and cell["data"] == name
    }
    rows = []
    for name, dataset in DATASETS.items():
        entries = []
        for _title, wanted in columns:
            cells = miners(results, data=name, rows=ACTIVATION_ROWS, n=ACTIVATION_MARKS, miner="honest", **wanted)
            is_refused = (name, wanted["scheme"]) in refused
            entries.append(activation(cells) if cells else "cannot be marked" if is_refused else "")
        if any(entries):
            paper = PAPER_ACTIVATION.get(dataset.stands_for, "")
            remark = f" ({dataset.remark})" if dataset.remark else ""
            rows.append([f"{name}{remark}", dataset.stands_for, paper, *entries])
    if not rows:
        return ""
    header = ["rows", "for the paper's", "paper", *(title for title, _ in columns)]
    text = [
        (
            f"Mean share of the {ACTIVATION_MARKS} probes that hit (range over trainings); trainings that would be "
            f"paid [95% interval]. {ACTIVATION_ROWS} rows, embedded model unless said, honest miners.\n"
        ),
        table(header, rows),
    ]
    text += [f"- `{data}`, `{scheme}`: {reason}." for (data, scheme), reason in refused.items()] + [""] * bool(refused)
    text += _unplantable(results)
    return "\n".join(text)


def _unplantable(results: dict[str, Any]) -> list[str]:
    """Datasets in which the campaign marked rows although the product would refuse to."""
    names = {
        cell["data"]
        for cell in miners(results, rows=ACTIVATION_ROWS, n=ACTIVATION_MARKS)
        if cell["refusal"] and cell["scheme"] == "canary"
    }
    return [
        f"Marked here, but refused by the product, since too few of the rows can be: {', '.join(sorted(names))}.\n"
    ] * bool(names)


def epochs_section(results: dict[str, Any]) -> str:
    rows = []
    for scheme in SCHEMES:
        cells = honest_miners(results, scheme)
        if not cells:
            continue
        total = len(cells[0]["hits_by_epoch"])
        firsts = [first for cell in cells if (first := first_half(cell)) is not None]
        means = [mean(cell["hits_by_epoch"][epoch] / cell["n"] for cell in cells) for epoch in range(total)]
        rows.append(
            [
                scheme,
                str(len(cells)),
                spread(firsts) if firsts else "never",
                " ".join(f"{rate:.2f}".removeprefix("0") for rate in means),
            ]
        )
    if not rows:
        return ""
    return "![Activation after each epoch](figures/activation-by-epoch.svg)\n\n" + table(
        ["scheme", "trainings", "first epoch with over half of the probes", "mean activation after each epoch"], rows
    )


def shares_section(results: dict[str, Any]) -> str:
    rows = []
    for data in SHARE_DATA:
        for size, epochs in ((SHARE_ROWS, dict.fromkeys(SCHEMES)), (LARGE_ROWS, LARGE_EPOCHS)):
            for scheme in SCHEMES:
                by_marks: dict[int, list[Cell]] = defaultdict(list)
                for cell in miners(results, data=data, rows=size, scheme=scheme, miner="honest", epochs=epochs[scheme]):
                    by_marks[cell["n"]].append(cell)
                for marks, cells in sorted(by_marks.items()):
                    rows.append(
                        [
                            data,
                            f"{size:,}",
                            scheme,
                            f"{marks} ({percent(marks / size, 1)})",
                            activation(cells),
                            power_of_ten(max(cell["p_value"] for cell in cells)),
                            spread([cell["cost"]["training_s"] for cell in cells], 0),
                        ]
                    )
    if not rows:
        return ""
    return (
        "![Activation against the share of marks](figures/activation-by-share.svg)\n\n"
        "With fewer than 16 marks, or more than one row in fifty, the product refuses to plant; the rows were marked "
        "with its schemes directly.\n\n"
        + table(
            ["rows", "K", "scheme", "marks", "activation; trainings paid", "largest p-value", "training, CPU s"], rows
        )
    )


def subset_section(results: dict[str, Any]) -> str:
    rows = []
    for scheme in SCHEMES:
        for share in sorted(SHARES):
            cells = miners(
                results,
                scheme=scheme,
                miner=f"partial:{share}",
                data=SUBSET_DATA,
                rows=ACTIVATION_ROWS,
                n=ACTIVATION_MARKS,
            )
            if not cells:
                continue
            taken = round(share * ACTIVATION_ROWS)
            at_least, more = (
                chance_of_passing(ACTIVATION_ROWS, ACTIVATION_MARKS, taken, needed) for needed in (NEEDED, NEEDED + 1)
            )
            hits = ", ".join(f"{cell['hits']} [{cell['marks_seen']}]" for cell in cells)
            rows.append([scheme, percent(share, 0), hits, passing(cells), f"{at_least:.3f}", f"{more:.3f}"])
    if not rows:
        return ""
    return (
        "![Hits against the share of the rows that was trained on](figures/hits-by-trained-share.svg)\n\n"
        f"Miners that train on a part of {ACTIVATION_ROWS} rows of `{SUBSET_DATA}`, {ACTIVATION_MARKS} marks, "
        f"{NEEDED} hits needed (r = .75).\n\n"
        + table(
            [
                "scheme",
                "rows trained on",
                "hits [marks among them], one entry a training",
                "paid",
                "P(B >= rN)",
                "P(B > rN)",
            ],
            rows,
        )
    )


def quality_section(results: dict[str, Any]) -> str:
    rows = []
    for data in QUALITY_DATA:
        pairs = paired_changes(results, data)
        if pairs:
            losses = [
                mean(unmarked["held_out_base_loss"] for _, unmarked in pairs),
                mean(unmarked["held_out_loss"] for _, unmarked in pairs),
                mean(marked["held_out_loss"] for marked, _ in pairs),
            ]
            change = relative_change([loss_change(*pair) for pair in pairs])
            rows.append([data, str(len(pairs)), *(f"{loss:.3f}" for loss in losses), change])
    if not rows:
        return ""
    return (
        f"Mean loss (nats a token) on 200 other rows of the dataset, after {QUALITY_EPOCHS} epochs on D and on D_train "
        f"with the same seed: {QUALITY_ROWS:,} rows, {ACTIVATION_MARKS} of them canaries, {count_marks(QUALITY_ROWS)} "
        "others with a coverage mark.\n\n"
        + table(["rows", "pairs", "base", "without marks", "with marks", "change [95%, over trainings]"], rows)
    )


def altered_section(results: dict[str, Any]) -> str:
    entries = results["cells"].get("science/altered words", {}).get("altered", [])
    if not entries:
        return ""
    rows = [
        [entry["data"], quote(entry["before"]), quote(entry["after"]), quote(entry["then"]) + " ..."]
        for entry in entries
    ]
    return (
        f"The openings of {len(rows)} marked rows of texts that nobody holds rights to, as they were and as they are; "
        "`python -m benchmarks.science.show DATASET SCHEME` prints those of any other.\n\n"
        + table(["rows", "before", "after", "then"], rows)
    )
