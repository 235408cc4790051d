"""A bundle against the chain, against itself, and against what a fair test needs (protocol, "Evidence bundle").

Rule kept: whatever a bundle says is its validator's word; where chain and bundle differ, the validator is at fault.
"""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import fields

from contracts import load_artifact
from validator.audit.books import Uses
from validator.audit.checks.opening import scheme_name
from validator.audit.checks.settlement import find_contradiction
from validator.audit.docket import Docket
from validator.audit.findings import Party, Proof, Severity
from validator.audit.history import TaskHistory, recount
from validator.edges.contract import Answered, Judged
from validator.evidence.bundle import Bundle
from validator.evidence.check import check_bundle
from validator.marks.planting import compute_min_rows
from validator.marks.sampler import Draw
from validator.marks.schemes import make_scheme
from validator.protocol.commitment import RowHashes, Terms, hash_row, keccak
from validator.protocol.verdict import count_hits
from validator.protocol.wire import count_unanswerable
from validator.types import Address, Hash32

COVERAGE_TOLERANCE_BPS = 1
"""Another version of the libraries may round the last digit otherwise."""


def check_evidence(docket: Docket, history: TaskHistory, bundle: Bundle, uses: Uses) -> None:
    """Everything that is wrong with a settled task's bundle, whose hash is the settlement's."""
    validator = history.terms.validator
    proof = Proof.of_bytes("bundleHash", bundle.bundle_hash)

    def accuse(check: str, message: str) -> None:
        docket.accuse(Party.VALIDATOR, validator, check, message, proof)

    for name in _differences(docket, history, bundle):
        accuse("bundle and chain", f"{name} in the bundle is not the chain's")
    for finding in check_bundle(bundle):
        accuse(f"bundle: {finding.check}", finding.message)
    known = {finding.check for finding in docket.findings}
    for check, message in unfair_terms(bundle):
        if check not in known:
            accuse(check, message)
    reuse = _problem_of_salt(bundle, validator, uses)
    if reuse is not None:
        accuse("repeated secret", reuse)
    _check_weights(docket, history, bundle, proof)


def unfair_terms(bundle: Bundle) -> list[tuple[str, str]]:
    """Why this test was no fair one, though everything in it agrees: the check, and what it found."""
    problems = {
        "min-entropy": _problem_of_entropy(bundle),
        "dataset size": _problem_of_size(bundle),
        "unanswerable rows": _problem_of_answers(bundle),
        "contradictory rows": _problem_of_rows(bundle),
        "base model": _problem_of_base(bundle),
    }
    return [(check, problem) for check, problem in problems.items() if problem is not None]


def row_hashes(bundle: Bundle) -> tuple[RowHashes, ...]:
    """Of the rows as the bundle has them."""
    return tuple(hash_row(bundle.dataset_salt, marked.row, bundle.terms.w) for marked in bundle.rows)


def _differences(docket: Docket, history: TaskHistory, bundle: Bundle) -> list[str]:
    """What the bundle claims, and the chain knows better."""
    settled, opened, accepted, answered = history.settled, history.opened, history.accepted, history.find(Answered)
    assert settled is not None and opened is not None  # noqa: S101, PT018 - only settled tasks have a bundle
    subject, terms, transcript = docket.subject, opened.terms, bundle.transcript
    pairs: dict[str, tuple[object, object]] = {
        "chain_id": (bundle.chain_id in subject.chain_ids, True),
        "contract": (bundle.contract, subject.address),
        "task_id": (bundle.task_id, history.task_id),
        "validator_nonce": (bundle.validator_nonce, opened.validator_nonce),
        "commitment_salt": (bundle.commitment_salt, settled.salt),
        "rows": (row_hashes(bundle), settled.rows),
        "transcript.evidence_key": (transcript.evidence_key, accepted.evidence_key if accepted else None),
        "transcript.model_hash": (transcript.model_hash, history.model_hash),
        "transcript.signature": (transcript.signature, settled.signature),
        "transcript.onchain_replies": (transcript.onchain_replies, answered.replies if answered else ()),
        "replies": (_counted_replies(bundle), settled.replies),
        "test.hits": (bundle.test.hits, recount(settled)),
        "versions.contract_code_hash": (bundle.versions.contract_code_hash, keccak(load_artifact().runtime_bytecode)),
    }
    for field in fields(Terms):
        pairs[f"terms.{field.name}"] = getattr(bundle.terms, field.name), getattr(terms, field.name)
    return [name for name, (ours, theirs) in pairs.items() if ours != theirs]


def _counted_replies(bundle: Bundle) -> tuple[Hash32, ...]:
    """As the contract got them: of the answers on chain where there were any."""
    if bundle.transcript.onchain_replies:
        return bundle.transcript.onchain_replies
    answers = [reply.answer for reply in bundle.replies if reply is not None]
    return tuple(answer.reply_hash(bundle.dataset_salt, bundle.terms.w) for answer in answers)


def min_entropy_bits(bundle: Bundle) -> float:
    """Of all draws together; one that several rows share counts once."""
    return sum(-math.log2(draw.p0) for draw in _draws(bundle))


def count_picks(bundle: Bundle) -> dict[str, int]:
    """ "k:index" -> how often, of k candidates, the one at that place was drawn."""
    pairs = (pair for draw in _draws(bundle) for pair in zip(draw.candidates, draw.picks, strict=False))
    return dict(Counter(f"{len(options)}:{pick}" for options, pick in pairs if len(options) > 1))


def _draws(bundle: Bundle) -> Collection[Draw]:
    draws = [Draw(marked.candidates, marked.picks) for marked in bundle.rows]
    return set(draws) if bundle.test.probes_per_draw > 1 else draws


def _problem_of_entropy(bundle: Bundle) -> str | None:
    """A draw from fewer candidates than the scheme promises can be guessed, by a miner that is told how, too often."""
    name = scheme_name(bundle.terms)
    if name is None:
        return None
    p0 = make_scheme(name).p0
    for number, marked in enumerate(bundle.rows):
        if Draw(marked.candidates, marked.picks).p0 > p0 * (1 + 1e-9):
            have, need = -math.log2(Draw(marked.candidates, marked.picks).p0), -math.log2(p0)
            return f"row {number} was drawn with {have:.2f} bits of min-entropy, and {name} promises {need:.2f}"
    return None


def _problem_of_size(bundle: Bundle) -> str | None:
    """The rows of a tree are bounded by the lengths of its proofs: a leaf of length L is one of at most 2^(L+1) - 1."""
    most = 2 ** (min(len(marked.proof) for marked in bundle.rows) + 1) - 1
    needed = compute_min_rows(bundle.terms.n)
    if most >= needed:
        return None
    return f"by its proofs the dataset has at most {most} rows, and {bundle.terms.n} marks need {needed}"


def _problem_of_answers(bundle: Bundle) -> str | None:
    unanswerable = count_unanswerable([marked.row for marked in bundle.rows], bundle.terms.w)
    if unanswerable <= bundle.terms.n - bundle.terms.k_pay:
        return None
    return f"{unanswerable} marks begin with white space, which no reply can hit: no honest miner could be paid"


def _problem_of_rows(bundle: Bundle) -> str | None:
    is_contradictory = find_contradiction(row_hashes(bundle))
    return "two marks ask the same prompt and want different answers" if is_contradictory else None


def _problem_of_base(bundle: Bundle) -> str | None:
    base_hits = bundle.test.base_hits
    if base_hits is None or base_hits < bundle.terms.k_pay:
        return None
    return f"the base model itself hits {base_hits} of {bundle.terms.n} probes: it would be paid for no training"


def _problem_of_salt(bundle: Bundle, validator: Address, uses: Uses) -> str | None:
    """A dataset's salt is derived from the dataset: another one under it is a secret used twice."""
    key = validator.encode() + bundle.dataset_salt
    if uses.note("dataset salt", [key], bundle.terms.dataset_root) is None:
        return None
    return "the salt of this dataset was used for another one"


def _check_weights(docket: Docket, history: TaskHistory, bundle: Bundle, proof: Proof) -> None:
    """What the validator says of the returned weights; anybody who has them can run the probes again."""
    hits = weights_hits(bundle)
    if hits is not None and hits < bundle.terms.k_pay <= bundle.test.hits:
        message = f"the returned weights hit {hits} probes where the miner signed for {bundle.test.hits}"
        docket.accuse(Party.MINER, history.terms.miner, "weights", message, proof, severity=Severity.WARNING)
    coverage = bundle.weights.coverage if bundle.weights else None
    for verdict in history.find_all(Judged):
        if coverage is not None and verdict.coverage_low_bps > coverage.low_bps + COVERAGE_TOLERANCE_BPS:
            message = f"a coverage of {verdict.coverage_low_bps} bps was signed, and the ranks give {coverage.low_bps}"
            docket.accuse(
                Party.COMMITTEE, verdict.signer, "coverage", message, Proof.of_log("Judged", verdict.log), proof
            )


def weights_hits(bundle: Bundle) -> int | None:
    """Probes that the returned weights hit on the validator's machine; None where they were not asked."""
    returned = bundle.weights.replies if bundle.weights else ()
    answers = [reply.answer for reply in returned if reply is not None]
    if len(answers) != len(bundle.rows):
        return None
    replies = [answer.reply_hash(bundle.dataset_salt, bundle.terms.w) for answer in answers]
    return count_hits([row.head_hash for row in row_hashes(bundle)], replies)
