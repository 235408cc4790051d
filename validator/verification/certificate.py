"""What a verification found out, for people and for machines.

Rule kept: a certificate names no mark and quotes no row or reply, so it can be shown to anybody; whoever doubts it gets
the secret, whose hash it names, and asks the model himself.
"""

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from validator.evidence.bundle import COVERAGE_NULL_HYPOTHESIS, NULL_HYPOTHESIS
from validator.files import write_whole
from validator.protocol.verdict import Verdict
from validator.terminal import describe_time, print_rows
from validator.verification.covert import CovertScreen
from validator.verification.examination import Findings
from validator.verification.lookup import COPIES_OF_A_MODEL, EXPECTED, UNTRIGGERED_OF_A_MODEL, DecoyFindings
from validator.verification.quality import Quality
from validator.verification.secret import PlantingSecret

FORMAT = "touchstone-certificate/1"
PACKAGES = ("touchstone-validator", "numpy", "scipy", "torch", "transformers", "peft")
OUTCOMES = {True: "passed", False: "not passed", None: "undecided"}
REPLIES_DO_NOT_SHOW = (
    "that all rows were trained on: replies separate a half from a whole, not 80% from 100%",
    "that nothing is looked up: a look-up as tolerant as a model, with one behind it, answers every prompt alike",
    "that the model is good, or does nothing else besides: what is said of that is advice",
)
WEIGHTS_DO_NOT_SHOW = (
    "that a provider serves these weights: only what was in the directory was looked at",
    "that the model is good, or does nothing else besides: what is said of that is advice",
)


@dataclass(frozen=True)
class Certificate:
    """Findings about one model, and what they rest on. Times in Unix seconds."""

    secret: PlantingSecret
    findings: Findings
    model: str
    base: str | None
    files: dict[str, str]
    """SHA-256 of the weights' files by name, in hex; empty for a provider."""
    began_s: float
    ended_s: float

    @property
    def outcome(self) -> str:
        return OUTCOMES[self.findings.has_passed]

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")

    def to_dict(self) -> dict[str, Any]:
        findings, planted = self.findings, self.secret.planted
        coverage = findings.coverage
        return {
            "format": FORMAT,
            "outcome": self.outcome,
            "model": self.model,
            "base_model": self.base,
            "weights_sha256": self.files,
            "training_file_sha256": self.secret.training_sha256.hex(),
            "training_rows": self.secret.row_count,
            "commitment": self.secret.commitment.hex(),
            "scheme": {"name": planted.scheme.name, "w": planted.scheme.w, "k": planted.scheme.k},
            "generator": planted.generator,
            "probes": _describe_probes(findings.probes),
            "base_probes": findings.base_probes and _describe_probes(findings.base_probes),
            "coverage": coverage
            and {"null_hypothesis": COVERAGE_NULL_HYPOTHESIS, "log10_p": coverage.log10_p, "low_bps": coverage.low_bps}
            | json.loads(coverage.to_json()),
            "decoys": findings.decoys and _describe_decoys(findings.decoys),
            "quality": findings.quality and asdict(findings.quality) | {"advice": findings.quality.advice},
            "covert": findings.covert and asdict(findings.covert) | {"advice": findings.covert.advice},
            "does_not_show": WEIGHTS_DO_NOT_SHOW if self.files else REPLIES_DO_NOT_SHOW,
            "began": describe_time(self.began_s),
            "ended": describe_time(self.ended_s),
            "versions": {"python": platform.python_version()} | _versions(),
        }

    def print(self, console: Console) -> None:
        findings, secret = self.findings, self.secret
        console.print(f"{self.outcome.upper()}: {self.model}")
        probes = findings.probes
        low, high = probes.hit_rate_interval()
        hits = f"{probes.hits} of {probes.thresholds.n} hit, {probes.thresholds.k_pay} needed"
        rows = [
            ("planted", f"{len(secret.planted.marks)} of {secret.row_count} rows, {secret.planted.scheme.name}"),
            ("commitment", secret.commitment.hex()),
            ("probes", f"{hits}; hit rate {low:.2f} to {high:.2f} (95%)"),
            ("null hypothesis", f"{NULL_HYPOTHESIS}: p <= {probes.p_value:.2g}"),
        ]
        if base := findings.base_probes:
            low, high = base.hit_rate_interval()
            bound = max(secret.planted.null_probabilities)
            measured = f"{base.hits} of {base.thresholds.n} hit, rate {low:.2f} to {high:.2f} (95%)"
            rows.append(("base model", f"{measured}; bound of one probe {bound:.2g}"))
        if findings.coverage:
            rows.append(("coverage", str(findings.coverage).removeprefix("coverage: ")))
        if findings.decoys:
            rows.append(("decoys", findings.decoys.behaviour.value))
        if findings.quality:
            rows.append(("quality, advice", _summarise_quality(findings.quality)))
        if findings.covert:
            rows.append(("covert, advice", _summarise_covert(findings.covert)))
        print_rows(console, [(f"{name:<18}", value) for name, value in rows])
        if findings.decoys:
            console.print(_decoy_table(findings.decoys))
        console.print("What this does not show:")
        for line in WEIGHTS_DO_NOT_SHOW if self.files else REPLIES_DO_NOT_SHOW:
            console.print(f"  - {line}")


def _describe_probes(verdict: Verdict) -> dict[str, Any]:
    return {
        "null_hypothesis": NULL_HYPOTHESIS,
        "n": verdict.thresholds.n,
        "hits": verdict.hits,
        "hits_needed": verdict.thresholds.k_pay,
        "p0": verdict.p0,
        "probes_per_draw": verdict.probes_per_draw,
        "p_value": verdict.p_value,
        "false_pass_bound": verdict.false_pay_bound,
        "hit_rate_interval_95": verdict.hit_rate_interval(),
    }


def _describe_decoys(decoys: DecoyFindings) -> dict[str, Any]:
    whose = ("model", "table", "nearest")
    expected = {kind.value: dict(zip(whose, row, strict=True)) for kind, row in EXPECTED.items()}
    return {
        "counts": [asdict(count) | {"expected": expected[count.kind]} for count in decoys.counts],
        "behaviour": decoys.behaviour.value,
        "tolerance": {
            "null_hypothesis": "replies to changed prompts are independent of the draws",
            "p_value": decoys.tolerance_p,
        },
        "nearest": {
            "null_hypothesis": f"copies of rows at a rate of at most {COPIES_OF_A_MODEL}; with a trigger, signatures "
            f"without it at a rate of at most {UNTRIGGERED_OF_A_MODEL}",
            "p_value": decoys.nearest_p,
        },
    }


def _decoy_table(decoys: DecoyFindings) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in ("decoys", "hits", "copies", "a model", "exact table", "nearest row"):
        table.add_column(heading, no_wrap=True)
    for count in decoys.counts:
        hits = "-" if count.hits is None else f"{count.hits} of {count.asked}"
        table.add_row(count.kind.value, hits, f"{count.copies} of {count.compared}", *EXPECTED[count.kind])
    return table


def _summarise_quality(quality: Quality) -> str:
    if quality.difference is None or quality.interval is None:
        return f"{quality.advice}; {quality.measure}: {quality.model:.3f} over {quality.rows} rows"
    low, high = quality.interval
    return (
        f"{quality.advice}; {quality.measure}: {quality.model:.3f}, difference {quality.difference:+.3f} "
        f"({low:+.3f} to {high:+.3f}, 95%) over {quality.rows} rows, p = {quality.p_value:.2g}"
    )


def _summarise_covert(covert: CovertScreen) -> str:
    foreign, asked = (sum(getattr(count, name) for count in covert.counts[:-1]) for name in ("foreign", "asked"))
    of_base = ""
    if covert.replies_p is not None:
        of_base = f", of the base model {sum(count.base_foreign or 0 for count in covert.counts[:-1])}"
    return f"{covert.advice}; foreign replies to encoded prompts: {foreign} of {asked}{of_base}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
