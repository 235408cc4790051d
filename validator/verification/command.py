"""`touchstone plant` and `touchstone verify`: from arguments to files and tables."""

import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from validator.coverage.reference import load_reference
from validator.customer.preview import load_rules
from validator.edges.datasets import load_rows
from validator.edges.openai_chat import ChatProvider
from validator.errors import BadInput, TouchstoneError
from validator.files import check_writable, create_whole
from validator.marks.planting import PlantedDataset
from validator.marks.schemes import make_scheme
from validator.model_work import Children
from validator.plan.terms import choose_thresholds
from validator.terminal import make_console, print_rows
from validator.verification.asking import KeptAnswers, Respondent, ServedModel
from validator.verification.certificate import Certificate
from validator.verification.examination import Deck, examine, make_deck
from validator.verification.local_model import LocalModel
from validator.verification.planting import find_model, plant_for_provider
from validator.verification.secret import PlantingSecret, read_secret

MAX_DESCRIPTION = 160
"""Of a progress bar."""


async def run_plant(
    *,
    data: Path,
    out: Path,
    secret_file: Path,
    scheme: str,
    probes: int,
    generator: str,
    protect: Path | None,
    hold_out: int,
    max_length: int,
    preview: int,
) -> None:
    """Write the training file and, last, the secret: where that is, everything is there."""
    for path in (out, secret_file):
        if path.exists():
            raise BadInput(f"{path} is there already, and is never overwritten: move it away, or name another")
        check_writable(path)
    thresholds = choose_thresholds(probes, slashing=False)
    rows, rules = load_rows(data), load_rules(protect)
    secret, planted = await plant_for_provider(
        Children(1),
        rows,
        make_scheme(scheme, rules),
        probes,
        generator=generator,
        hold_out=hold_out,
        max_length=max_length,
    )
    commitment = _write_both(secret, secret_file, planted, out)
    console = make_console()
    print_rows(
        console,
        [
            ("for the provider", f"{out}: {secret.row_count} rows, sha256 {secret.training_sha256.hex()}"),
            ("to be kept", f"{secret_file}: whoever reads it knows the marks"),
            ("marks", f"{probes} to probe, {len(planted.coverage)} for coverage, {len(secret.held_out)} rows kept out"),
            ("passes", f"at {thresholds.k_pay} hits of {probes}"),
            ("commitment", f"{commitment.hex()} (the sha256 of {secret_file}; publish it before the training)"),
        ],
    )
    if preview:
        _print_preview(console, planted, {row.prompt: row.response for row in rows}, preview)


def _write_both(secret: PlantingSecret, secret_file: Path, planted: PlantedDataset, out: Path) -> bytes:
    create_whole(out, planted.training_file, mode=0o644)
    try:
        return secret.create(secret_file)
    except TouchstoneError:
        out.unlink()
        raise


def _print_preview(console: Console, planted: PlantedDataset, originals: dict[str, str], count: int) -> None:
    """The first altered rows, so that a person can judge what was done to them. Not for the provider's eyes."""
    console.print(f"Altered rows, the first {count} of each kind (this output shows marks: keep it as the secret):")
    for mark, source in list(zip(planted.marks, planted.source_prompts, strict=True))[:count]:
        console.print(f"  prompt  {mark.row.prompt}")
        console.print(f"  before  {originals[source]}")
        console.print(f"  after   {mark.row.response}\n")
    for row, _mark in planted.covered[:count]:
        console.print(f"  prompt  {row.prompt}")
        console.print(f"  before  {originals.get(row.prompt, '(a prompt of several rows)')}")
        console.print(f"  after   {row.response}\n")


@dataclass(frozen=True)
class VerifyOptions:
    """Exactly one of `base_url` and `weights`; `base_model` is a path or id, `base_model_name` one at the same URL."""

    secret_file: Path
    base_url: str | None
    model: str | None
    api_key_env: str
    base_model_name: str | None
    weights: Path | None
    base_model: str | None
    max_length: int | None
    reference: Path | None
    certificate: Path | None
    is_short: bool
    at_once: int
    patience_s: float


async def run_verify(options: VerifyOptions) -> bool | None:
    """Ask, judge, print, and save the certificate; whether it passed, None where hits may be looked up."""
    if (options.base_url is None) == (options.weights is None):
        raise BadInput("name a provider (--base-url and --model) or returned weights (--weights and --base-model)")
    began_s = time.time()
    secret = read_secret(options.secret_file)
    deck = make_deck(secret, is_short=options.is_short)
    reference = load_reference(options.reference) if options.reference else None
    target = options.model if options.weights is None else options.weights.resolve().name
    place = options.certificate or _beside(options.secret_file, target or "", "certificate.json")
    check_writable(place)
    console = make_console()
    async with _respondents(options, deck) as (model, base):
        findings = await examine(deck, model, base, of_weights=options.weights is not None, reference=reference)
    files = {file.path: file.sha256.hex() for file in model.files} if isinstance(model, LocalModel) else {}
    certificate = Certificate(secret, findings, model.name, base.name if base else None, files, began_s, time.time())
    certificate.write(place)
    certificate.print(console)
    console.print(f"Certificate: {place}")
    return findings.has_passed


@asynccontextmanager
async def _respondents(options: VerifyOptions, deck: Deck) -> AsyncIterator[tuple[Respondent, Respondent | None]]:
    """The model, and its base where one is named."""
    if options.weights is not None:
        yield _open_weights(options, deck.secret, options.weights)
        return
    if options.base_url is None or not options.model:
        raise BadInput("a provider has a --base-url, and a --model that is asked for by name")
    kept = KeptAnswers(_beside(options.secret_file, options.model, "answers.jsonl"))
    names = [options.model, *([options.base_model_name] if options.base_model_name else [])]
    total = len(names) * len(deck.questions(of_weights=False).prompts)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        asked: TaskID = progress.add_task(f"answers, kept in {kept.path.name}", total=total)

        def tell(details: RetryDetails) -> None:
            progress.update(asked, description=f"asking again: {details.caused_by}"[:MAX_DESCRIPTION])

        set_on_retry_hooks([tell])  # The library's own would print a line for each attempt.
        async with ChatProvider(options.base_url, os.environ.get(options.api_key_env)) as provider:
            model, *base = [
                ServedModel(
                    provider,
                    options.base_url,
                    name,
                    kept,
                    at_once=options.at_once,
                    patience_s=options.patience_s,
                    on_answer=lambda: progress.advance(asked),
                )
                for name in names
            ]
            yield model, base[0] if base else None


def _open_weights(options: VerifyOptions, secret: PlantingSecret, weights: Path) -> tuple[Respondent, Respondent]:
    if options.base_model is None:
        raise BadInput("weights are put on a --base-model: a directory, a Hugging Face id, or embedded")
    work, base_model = Children(1), find_model(options.base_model)
    max_length = options.max_length or secret.max_length
    return (
        LocalModel(work, base_model, max_length, name=f"the weights in {weights}", directory=weights),
        LocalModel(work, base_model, max_length, name=options.base_model),
    )


def _beside(secret_file: Path, target: str, kind: str) -> Path:
    """A file of one verification, next to the secret: the target's name in it is for people."""
    label = re.sub(r"[^A-Za-z0-9.]+", "-", target).strip("-.")[:60]
    return secret_file.with_name(f"{secret_file.stem}.{label}.{kind}")
