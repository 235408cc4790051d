"""One task's report: what the chain says of it, what is recomputed, and what its bundle adds."""

import math
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from validator.audit.books import Uses
from validator.audit.bundle_checks import check_evidence, count_picks, min_entropy_bits, weights_hits
from validator.audit.checks import check_task
from validator.audit.checks.course import describe, state_of, zone_of
from validator.audit.checks.opening import scheme_name
from validator.audit.docket import Docket, Subject
from validator.audit.findings import Party, Proof, Severity
from validator.audit.history import Dated, TaskHistory, recount
from validator.audit.report import BundleStatus, Payout, TaskReport, TaskVerdict, TimelineEvent
from validator.edges.contract import TaskStatus
from validator.errors import BadInput, Transient
from validator.evidence.bundle import Bundle
from validator.evidence.fields import MAX_SMALL, TermsObject, to_hex, write_probability
from validator.marks.sampler import Draw
from validator.marks.schemes import make_scheme
from validator.protocol.commitment import RowHashes, Terms, keccak
from validator.protocol.verdict import Thresholds, Verdict
from validator.types import Wei

_TERMS: TypeAdapter[Terms] = TypeAdapter(TermsObject)
NOT_ASKED = object()
"""In place of a bundle's bytes, where nobody said where bundles are."""


def report_task(
    subject: Subject,
    history: TaskHistory,
    uses: Uses,
    evidence: bytes | Transient | object | None,
    *,
    is_bundle_due: bool = True,
) -> TaskReport:
    """Check a task from its events and, once it is settled, from its bundle.

    `evidence` is what was found under the settlement's `bundleHash`: its bytes, None if there is nothing, the error if
    that could not be found out, or NOT_ASKED. Nobody is blamed for what is missing and not due yet. The opening of the
    task must be in its history.
    """
    docket = Docket(subject, history.task_id, check_task(subject, history))
    _check_secrets(docket, history, uses)
    status, bundle = _check_bundle(docket, history, uses, evidence, is_due=is_bundle_due)
    terms, settled, closed = history.terms, history.settled, history.closed
    return TaskReport(
        task_id=to_hex(history.task_id),
        validator=terms.validator,
        miner=terms.miner,
        payer=terms.payer,
        validator_nonce=history.opened.validator_nonce if history.opened else 0,
        outcome=describe(state_of(history)),
        is_closed=closed is not None,
        terms=_TERMS.dump_python(terms),
        timeline=tuple(map(_describe_event, history.events)),
        verdict=_describe_verdict(history, bundle, _new_picks(history, bundle, uses)),
        payout=Payout(**{name: str(getattr(closed, name)) for name in Payout.model_fields}) if closed else None,
        bundle=status,
        bundle_hash=to_hex(settled.bundle_hash) if settled else None,
        findings=tuple(docket.findings),
    )


def _check_secrets(docket: Docket, history: TaskHistory, uses: Uses) -> None:
    """A salt is for one task; marks that are public already say nothing about a model that was trained later."""
    settled, opened = history.settled, history.opened
    if settled is None or opened is None:
        return
    validator, proof = opened.terms.validator, Proof.of_log("TaskSettled", settled.log)
    if uses.note("salt", [validator.encode() + settled.salt], history.task_id) is not None:
        message = "the commitment's salt was used for another task"
        docket.accuse(Party.VALIDATOR, validator, "repeated secret", message, proof)
    settled_at = settled.log.block_number.to_bytes(8, "big")
    earlier = uses.note("mark", [row.leaf for row in settled.rows], settled_at + history.task_id)
    if earlier is not None and int.from_bytes(earlier[:8], "big") < opened.log.block_number:
        message = f"marks of this task were public since task {to_hex(earlier[8:])} was settled, before this one opened"
        docket.accuse(Party.VALIDATOR, validator, "public marks", message, proof, severity=Severity.WARNING)


def _check_bundle(
    docket: Docket, history: TaskHistory, uses: Uses, evidence: bytes | Transient | object | None, *, is_due: bool
) -> tuple[BundleStatus, Bundle | None]:
    settled = history.settled
    if settled is None:
        return BundleStatus.NONE, None
    if evidence is NOT_ASKED:
        return BundleStatus.NOT_ASKED, None
    validator, proof = history.terms.validator, Proof.of_log("TaskSettled", settled.log)
    if isinstance(evidence, Transient):
        message = f"the bundle could not be fetched: {evidence}"
        docket.accuse(Party.VALIDATOR, validator, "bundle", message, proof, severity=Severity.WARNING)
        return BundleStatus.UNREACHABLE, None
    if not isinstance(evidence, bytes):
        severity = Severity.MISMATCH if is_due else Severity.NOTE
        message = "the bundle that the settlement names is missing"
        docket.accuse(Party.VALIDATOR, validator, "bundle", message, proof, severity=severity)
        return BundleStatus.MISSING, None
    found = Proof.of_bytes("hash of what was found", keccak(evidence))
    if keccak(evidence) != settled.bundle_hash:
        message = "what stands under the bundle's name has another hash"
        docket.accuse(Party.VALIDATOR, validator, "bundle", message, proof, found)
        return BundleStatus.WRONG, None
    try:
        bundle = Bundle.parse(evidence)
    except BadInput as error:
        docket.accuse(Party.VALIDATOR, validator, "bundle", str(error), proof, found)
        return BundleStatus.WRONG, None
    before = len(docket.findings)
    check_evidence(docket, history, bundle, uses)
    return (BundleStatus.VERIFIED if len(docket.findings) == before else BundleStatus.WRONG), bundle


def _new_picks(history: TaskHistory, bundle: Bundle | None, uses: Uses) -> dict[str, int]:
    """Of a dataset's first task: another one over the same data has the same draws, which are no new evidence."""
    if bundle is None:
        return {}
    dataset = history.terms.validator.encode() + bundle.dataset_salt
    return count_picks(bundle) if uses.note("draws", [dataset], history.task_id) is None else {}


def _describe_verdict(history: TaskHistory, bundle: Bundle | None, picks: dict[str, int]) -> TaskVerdict | None:
    settled, terms = history.settled, history.terms
    if settled is None or not len(settled.rows) == len(settled.replies) == terms.n:
        return None
    hits, name = recount(settled), scheme_name(terms)
    scheme = make_scheme(name) if name is not None else None
    verdict = bits = None
    try:
        if scheme is not None:
            probes_per_draw = scheme.probes_per_draw(terms.n)
            p0 = _p0_of(bundle, terms.n) or (scheme.p0,) * terms.n
            thresholds = Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing)
            verdict = Verdict(thresholds, hits, p0, probes_per_draw)
            bits = min_entropy_bits(bundle) if bundle else -math.log2(scheme.p0) * -(-terms.n // probes_per_draw)
        p_value = write_probability(verdict.p_value) if verdict else None
    except ValueError:
        p_value = None  # Of terms that no contract takes: the findings say so.
    return TaskVerdict(
        n=terms.n,
        hits=hits,
        k_pay=terms.k_pay,
        k_slash=terms.k_slash,
        slashing=terms.slashing,
        zone=zone_of(terms, hits).value,
        p_value=p_value,
        p0=write_probability(max(verdict.p0)) if verdict else None,
        min_entropy_bits=bits,
        probes_per_draw=verdict.probes_per_draw if verdict else None,
        base_hits=bundle.test.base_hits if bundle else None,
        weights_hits=weights_hits(bundle) if bundle else None,
        picks=picks,
        is_from_bundle=bundle is not None,
    )


def _p0_of(bundle: Bundle | None, n: int) -> tuple[float, ...] | None:
    if bundle is None or len(bundle.rows) != n:
        return None
    return tuple(Draw(marked.candidates, marked.picks).p0 for marked in bundle.rows)


def _describe_event(dated: Dated) -> TimelineEvent:
    event, hints = dated.event, get_type_hints(type(dated.event))
    shown = [field.name for field in fields(event) if field.name not in ("log", "task_id", "terms")]
    return TimelineEvent(
        event=type(event).__name__,
        block=event.log.block_number,
        timestamp=dated.at_s,
        transaction=to_hex(event.log.tx_hash),
        log_index=event.log.log_index,
        fields={name: _plain(getattr(event, name), hints[name]) for name in shown},
    )


def _plain(value: Any, hint: Any = None) -> Any:
    """As JSON: bytes in hex, amounts as decimal text, an outcome by its name."""
    if isinstance(value, bytes):
        return to_hex(value)
    if isinstance(value, RowHashes):
        return {field.name: to_hex(getattr(value, field.name)) for field in fields(RowHashes)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, TaskStatus):
        return describe(value)
    is_large = hint is Wei or (isinstance(value, int) and value > MAX_SMALL)
    return str(value) if is_large else value
