"""The evidence of one settlement as one file, named by the hash of its bytes (protocol, "Evidence bundle").

Rule kept: the text is canonical (RFC 8785, with neither floats nor integers over 53 bits), so the same evidence always
has the same bytes and the same `bundleHash`, and `parse` takes no second spelling of it.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from validator.coverage.reference import Reference
from validator.coverage.result import CoverageResult
from validator.errors import BadInput, first_problem
from validator.evidence.fields import (
    AddressText,
    Decimal,
    Hex,
    Hex32,
    HexTaskId,
    Probability,
    Small,
    TermsObject,
    Text,
    Word,
    write_decimal,
    write_probability,
)
from validator.marks.planting import PlantedMarks
from validator.protocol.commitment import MAX_HEAD_WORDS, MAX_PROOF_LENGTH, Row, hash_replies, keccak
from validator.protocol.state import Answer, TaskState, Weights
from validator.protocol.verdict import Thresholds, Verdict, Zone
from validator.protocol.wire import strict_json
from validator.types import Address, Hash32

SCHEMA: Final = "touchstone-bundle/2"
MAX_BUNDLE_BYTES = 80 << 20
"""64 rows of a MiB, the longest that a dataset may have, 64 replies of 64 KiB, and room for the rest."""
MAX_MARKS = 64
MAX_CANDIDATES = 64
NULL_HYPOTHESIS: Final = "the model that answered is independent of the secret draws of these marks"
COVERAGE_NULL_HYPOTHESIS: Final = "the returned model is independent of the secret draws of these marks"
NOT_HERE: Final = "not here, or not probed yet, when the task was settled"
HIT_RATES = (0.9, 0.7, 0.5)
"""Of a miner that learnt the dataset, most of it, half of it (protocol, "Defaults"): where error rates are stated."""

Hits: TypeAlias = Annotated[int, Field(ge=0, le=MAX_MARKS)]
Label: TypeAlias = Annotated[str, StringConstraints(max_length=512)]


class Part(BaseModel):
    """Read strictly, changed never."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class MarkedRow(Part):
    """A row as the miner got it, its proof in `dataset_root`, and the draw: the words offered and those picked."""

    prompt: Text
    response: Text
    proof: Annotated[tuple[Hex32, ...], Field(max_length=MAX_PROOF_LENGTH)]
    candidates: Annotated[
        tuple[Annotated[tuple[Word, ...], Field(min_length=1, max_length=MAX_CANDIDATES)], ...],
        Field(min_length=1, max_length=MAX_HEAD_WORDS),
    ]
    picks: Annotated[tuple[Small, ...], Field(min_length=1, max_length=MAX_HEAD_WORDS)]

    @property
    def row(self) -> Row:
        return Row(self.prompt, self.response)


class Reply(Part):
    """A reply in full; `is_cut` says that the token limit ended it."""

    text: Text
    is_cut: bool

    @classmethod
    def of(cls, answer: Answer | None) -> "Reply | None":
        return None if answer is None else cls(text=answer.text, is_cut=answer.is_cut)

    @property
    def answer(self) -> Answer:
        return Answer(self.text, self.is_cut)


Replies: TypeAlias = Annotated[tuple[Reply | None, ...], Field(max_length=MAX_MARKS)]


class Transcript(Part):
    """What the miner signed, or, where there was a challenge, what it answered on chain (then `signature` is empty)."""

    evidence_key: AddressText
    model_hash: Hex32
    marks_hash: Hex32
    replies_hash: Hex32
    signature: Hex
    onchain_replies: Annotated[tuple[Hex32, ...], Field(max_length=MAX_MARKS)]


class ErrorRate(Part):
    """P(event | given), both in words: fixed by the terms before anybody saw the model."""

    event: Literal["paid", "slashed"]
    given: Label
    probability: Probability


class HypothesisTest(Part):
    """The hypothesis test with its inputs: the bound p0 on each probe under the null hypothesis, and the hits.

    `hit_rate_95` is the Clopper-Pearson interval; `tail` is P(X >= hits) of independent probes, which is the p-value
    only where no two probes share a draw (`probes_per_draw` is 1).
    """

    null_hypothesis: Literal["the model that answered is independent of the secret draws of these marks"]
    probes_per_draw: Annotated[int, Field(ge=1, le=MAX_MARKS)]
    p0: Annotated[tuple[Probability, ...], Field(max_length=MAX_MARKS)]
    hits: Hits
    base_hits: Hits | None
    """Of the base model itself, measured before the task was opened; null where it was not."""
    zone: Zone
    p_value: Probability
    tail: Probability
    hit_rate_95: tuple[Probability, Probability]
    error_rates: Annotated[tuple[ErrorRate, ...], Field(max_length=16)]


class WeightsFile(Part):
    """One returned file as it was fetched."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    size_bytes: Small
    sha256: Hex32


class CoverageTest(Part):
    """How much of the rows the weights were trained on (validator/coverage/result.py), with what it is computed from.

    The rows are not public, so that the ranks are theirs is attested; everything else follows from the histogram and
    the reference, which is the JSON of a `Reference`. `trained_share` is the estimate, then its 95% interval.
    """

    null_hypothesis: Literal["the returned model is independent of the secret draws of these marks"]
    histogram: Annotated[tuple[Small, ...], Field(min_length=2, max_length=MAX_CANDIDATES)]
    dropped: Small
    seed: Small
    rank_sum_log10_p: Decimal
    top_rank_log10_p: Decimal
    reference: Text | None
    trained_share: tuple[Decimal, Decimal, Decimal] | None
    low_bps: Annotated[int, Field(ge=0, le=10_000)]


class ReturnedWeights(Part):
    """What they answered to the same probes on the validator's machine, or why they could not be asked."""

    files: Annotated[tuple[WeightsFile, ...], Field(max_length=1024)]
    replies: Replies
    coverage: CoverageTest | None
    fault: Label | None


class Versions(Part):
    """What made this bundle: another version may compute the last digits of a tail otherwise."""

    touchstone: Label
    scipy: Label
    generator: Label
    """The language model that proposed the candidates: a hub id, or the SHA-256 of its weights."""
    contract_code_hash: Hex32


class Bundle(Part):
    """Everything about one settled task that may be known. Rows, replies and p0 are in ascending order of row leaf."""

    format: Literal["touchstone-bundle/2"] = Field(SCHEMA, alias="schema")
    chain_id: Small
    contract: AddressText
    task_id: HexTaskId
    validator_nonce: Small
    terms: TermsObject
    spec: Text
    commitment_salt: Hex32
    dataset_salt: Hex32
    model_id: Text | None
    rows: Annotated[tuple[MarkedRow, ...], Field(min_length=1, max_length=MAX_MARKS)]
    probe_order: Annotated[tuple[Small, ...], Field(max_length=MAX_MARKS)]
    replies: Replies
    transcript: Transcript
    test: HypothesisTest
    weights: ReturnedWeights | None
    versions: Versions

    def encode(self) -> bytes:
        """The canonical bytes, whose Keccak-256 is `bundleHash`."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @property
    def bundle_hash(self) -> Hash32:
        return keccak(self.encode())

    @classmethod
    def parse(cls, data: bytes) -> "Bundle":
        """Read a stranger's file; BadInput on anything but the canonical bytes of a bundle of this schema."""
        if len(data) > MAX_BUNDLE_BYTES:
            raise BadInput(f"no evidence bundle: longer than {MAX_BUNDLE_BYTES >> 20} MiB")
        try:
            strict_json(data)
            bundle = cls.model_validate_json(data)
        except ValidationError as error:
            raise BadInput(f"no evidence bundle: {first_problem(error.errors(include_input=False))}") from None
        except ValueError as error:
            raise BadInput(f"no evidence bundle: {error}") from None
        if bundle.encode() != data:
            raise BadInput("no evidence bundle: not in its canonical form")
        return bundle


def build_bundle(
    state: TaskState,
    planted: PlantedMarks,
    verdict: Verdict,
    *,
    chain_id: int,
    contract: Address,
    commitment_salt: Hash32,
    evidence_key: Address,
    versions: Versions,
    probe_order: Sequence[int] | None = None,
    reference: Reference | None = None,
) -> Bundle:
    """The evidence of a task that is about to be settled; secret until the settlement is final.

    `evidence_key` is the miner's, as frozen on chain; `probe_order` the marks in the order in which they were asked,
    by default as they stand; `reference` what the trained share was estimated by.
    """
    if state.model_hash is None:
        raise ValueError("a task without a submitted model has no evidence")
    replies = state.reply_hashes(planted.dataset_salt)
    prompt_hashes = [hashes.prompt_hash for hashes in planted.mark_hashes]
    return Bundle(
        schema=SCHEMA,
        chain_id=chain_id,
        contract=contract,
        task_id=state.task_id,
        validator_nonce=state.planned.validator_nonce,
        terms=state.terms,
        spec=state.planned.spec,
        commitment_salt=commitment_salt,
        dataset_salt=planted.dataset_salt,
        model_id=state.model_id,
        rows=tuple(
            MarkedRow(
                prompt=mark.row.prompt,
                response=mark.row.response,
                proof=proof,
                candidates=mark.draw.candidates,
                picks=mark.draw.picks,
            )
            for mark, proof in zip(planted.marks, planted.mark_proofs, strict=True)
        ),
        probe_order=tuple(range(len(state.answers)) if probe_order is None else probe_order),
        replies=tuple(map(Reply.of, state.answers)),
        transcript=Transcript(
            evidence_key=evidence_key,
            model_hash=state.model_hash,
            marks_hash=planted.marks_hash,
            replies_hash=hash_replies(list(zip(prompt_hashes, replies, strict=True))),
            signature=b"" if state.onchain_replies else state.signature or b"",
            onchain_replies=state.onchain_replies,
        ),
        test=describe_test(verdict, state.planned.base_hits),
        weights=_describe_weights(state, reference),
        versions=versions,
    )


def describe_test(verdict: Verdict, base_hits: int | None = None) -> HypothesisTest:
    """A verdict in the words and figures of a bundle."""
    low, high = verdict.hit_rate_interval()
    return HypothesisTest(
        null_hypothesis=NULL_HYPOTHESIS,
        probes_per_draw=verdict.probes_per_draw,
        p0=tuple(map(write_probability, verdict.p0)),
        hits=verdict.hits,
        base_hits=base_hits,
        zone=verdict.zone,
        p_value=write_probability(verdict.p_value),
        tail=write_probability(verdict.tail),
        hit_rate_95=(write_probability(low), write_probability(high)),
        error_rates=(_rate("paid", "null hypothesis", verdict.false_pay_bound), *_rates_of(verdict.thresholds)),
    )


def _rates_of(thresholds: Thresholds) -> list[ErrorRate]:
    rates = []
    for hit_rate in HIT_RATES:
        given = f"each probe hits independently with probability {hit_rate}"
        rates.append(_rate("paid", given, thresholds.pay_probability(hit_rate)))
        rates.append(_rate("slashed", given, thresholds.slash_probability(hit_rate)))
    return rates


def _rate(event: Literal["paid", "slashed"], given: str, probability: float) -> ErrorRate:
    return ErrorRate(event=event, given=given, probability=write_probability(probability))


def describe_coverage(result: CoverageResult, reference: Reference | None) -> CoverageTest | None:
    """A result in the words and figures of a bundle; None where nothing could be scored."""
    if not result.histograms:
        return None
    (histogram,) = result.histograms.values()
    is_known = result.trained is not None and reference is not None and result.trained.reference_id == reference.id
    estimate = result.trained.estimate if result.trained and is_known else None
    return CoverageTest(
        null_hypothesis=COVERAGE_NULL_HYPOTHESIS,
        histogram=histogram,
        dropped=result.dropped,
        seed=result.seed,
        rank_sum_log10_p=write_decimal(result.rank_sum_log10_p),
        top_rank_log10_p=write_decimal(result.top_rank_log10_p),
        reference=reference.to_json().decode() if reference and estimate else None,
        trained_share=(write_decimal(estimate.share), write_decimal(estimate.low), write_decimal(estimate.high))
        if estimate
        else None,
        low_bps=estimate.low_bps if estimate else 0,
    )


def _describe_weights(state: TaskState, reference: Reference | None) -> ReturnedWeights | None:
    if state.terms.weights == Weights.NONE:
        return None
    fault = NOT_HERE if state.is_waiting_for_weights else state.weights_fault
    return ReturnedWeights(
        files=tuple(
            WeightsFile(path=file.path, size_bytes=file.size_bytes, sha256=Hash32(file.sha256))
            for file in state.weights_files
        ),
        replies=tuple(map(Reply.of, state.weights_answers)),
        coverage=describe_coverage(CoverageResult.from_json(state.coverage.encode()), reference)
        if state.coverage
        else None,
        fault=None if fault is None else fault[:512],
    )
