"""What anybody can recompute from a bundle alone, offline (I7).

Rule kept: nothing that a bundle says of itself is believed. What only the chain knows (that these terms were opened,
that this key was the miner's, what `settle` counted, and this bundle's hash) is the auditor's to compare.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from validator.coverage.reference import Reference
from validator.coverage.result import judge_histograms
from validator.edges.keys import recover_typed_data
from validator.errors import BadInput
from validator.evidence.bundle import Bundle, CoverageTest, MarkedRow, describe_coverage, describe_test
from validator.marks.sampler import Draw
from validator.marks.schemes import make_scheme
from validator.protocol import typed_data
from validator.protocol.commitment import (
    SEPARATOR,
    ModelFile,
    RowHashes,
    decode_scheme,
    hash_commitment,
    hash_marks,
    hash_model_files,
    hash_replies,
    hash_row,
    hash_served_model,
    hash_spec,
    hash_task_id,
    split_head,
    verify_proof,
)
from validator.protocol.state import Weights
from validator.protocol.verdict import Thresholds, Verdict, count_hits, group_sizes
from validator.types import Hash32

TOLERANCE = 1e-5
"""Relative: figures have seven digits, and numerical libraries differ in the last ones."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in which a bundle contradicts itself: the check that failed, and what it found."""

    check: str
    message: str


def check_bundle(bundle: Bundle) -> list[Finding]:
    """Every contradiction; empty where leaves, commitment, draws, replies, signature and test all agree."""
    terms = bundle.terms
    if not len(bundle.rows) == len(bundle.replies or bundle.rows) == len(bundle.test.p0) == terms.n:
        return [Finding("shape", f"{len(bundle.rows)} rows and {len(bundle.replies)} replies for {terms.n} marks")]
    hashes = [hash_row(bundle.dataset_salt, marked.row, terms.w) for marked in bundle.rows]
    if any(a.leaf >= b.leaf for a, b in itertools.pairwise(hashes)):
        return [Finding("rows", "the rows are not in ascending order of their leaves")]
    reply_hashes = _reply_hashes(bundle)
    if isinstance(reply_hashes, Finding):
        return [reply_hashes]
    checks: dict[str, Callable[[], str | None]] = {
        "task": lambda: _check_task(bundle),
        "commitment": lambda: _check_commitment(bundle, hashes),
        "proofs": lambda: _check_proofs(bundle, hashes),
        "draws": lambda: _check_draws(bundle),
        "order": lambda: _check_order(bundle),
        "model": lambda: _check_model(bundle),
        "replies": lambda: _check_replies(bundle, hashes, reply_hashes),
        "signature": lambda: _check_signature(bundle),
        "coverage": lambda: _check_coverage(bundle),
        "test": lambda: _check_test(bundle, hashes, reply_hashes),
    }
    messages = ((name, _message_of(check)) for name, check in checks.items())
    return [Finding(name, message) for name, message in messages if message is not None]


def _message_of(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except ValueError as error:  # Thresholds beyond n, more probes to a draw than there are.
        return f"this cannot be computed: {error}"


def _reply_hashes(bundle: Bundle) -> list[Hash32] | Finding:
    """Those that the contract counted: of the chain where there was a challenge, else of the replies."""
    if bundle.transcript.onchain_replies:
        if len(bundle.transcript.onchain_replies) != bundle.terms.n:
            return Finding("replies", "not every mark has a reply on chain")
        return list(bundle.transcript.onchain_replies)
    answers = [reply.answer for reply in bundle.replies if reply is not None]
    if len(answers) != bundle.terms.n:
        return Finding("replies", "a reply is missing, and none stand on chain")
    return [answer.reply_hash(bundle.dataset_salt, bundle.terms.w) for answer in answers]


def _check_task(bundle: Bundle) -> str | None:
    terms = bundle.terms
    if hash_spec(bundle.spec) != terms.spec_hash:
        return "the spec is not the one of the terms"
    expected = hash_task_id(bundle.chain_id, bundle.contract, terms.validator, bundle.validator_nonce, terms.hash)
    return None if expected == bundle.task_id else "the task id is not that of these terms on this chain and contract"


def _check_commitment(bundle: Bundle, hashes: list[RowHashes]) -> str | None:
    terms = bundle.terms
    marks_hash = hash_marks([row.leaf for row in hashes])
    if marks_hash != bundle.transcript.marks_hash:
        return "the marks are not those of the transcript"
    commitment = hash_commitment(
        chain_id=bundle.chain_id,
        contract=bundle.contract,
        validator=terms.validator,
        miner=terms.miner,
        miner_epoch=terms.miner_epoch,
        dataset_root=terms.dataset_root,
        marks_hash=marks_hash,
        salt=bundle.commitment_salt,
    )
    return None if commitment == terms.commitment else "the salt and these marks do not open the commitment"


def _check_proofs(bundle: Bundle, hashes: list[RowHashes]) -> str | None:
    for number, (marked, row) in enumerate(zip(bundle.rows, hashes, strict=True)):
        if not verify_proof(bundle.terms.dataset_root, row.leaf, marked.proof):
            return f"row {number} is not proved in the dataset's root"
    return None


def _check_draws(bundle: Bundle) -> str | None:
    try:
        scheme = make_scheme(decode_scheme(bundle.terms.scheme))
    except (BadInput, UnicodeDecodeError):
        return "the scheme is none that this program knows"
    n, probes_per_draw = bundle.terms.n, scheme.probes_per_draw(bundle.terms.n)
    if probes_per_draw != bundle.test.probes_per_draw:
        return f"how many probes share a draw is not as {scheme.name} has it"
    shared = Counter((marked.candidates, marked.picks) for marked in bundle.rows)
    if probes_per_draw > 1 and sorted(shared.values(), reverse=True) != group_sizes(n, probes_per_draw):
        return "the marks do not share their draws as the test has it"
    for number, marked in enumerate(bundle.rows):
        problem = _problem_of_draw(marked, bundle.terms.w)
        if problem:
            return f"row {number}: {problem}"
    return None


def _problem_of_draw(marked: MarkedRow, w: int) -> str | None:
    if len(marked.candidates) != len(marked.picks):
        return "not every place has a draw"
    words = 0
    for options, pick in zip(marked.candidates, marked.picks, strict=True):
        if pick >= len(options) or len(set(options)) != len(options):
            return "a word was not drawn from different candidates"
        # Candidates of different lengths would let one reply hit two of them.
        lengths = {len(option.split(SEPARATOR)) for option in options}
        if len(lengths) != 1 or not all(map(_is_plain, options)):
            return "candidates are not equally many words between single spaces: no bound on a chance hit holds"
        words += lengths.pop()
    if words != w:
        return f"{words} words were drawn, not {w}"
    if split_head(marked.response, w)[0] != _draw(marked).text:
        return "the response does not begin with the words that were drawn"
    return None


def _is_plain(option: str) -> bool:
    return all(word and not any(map(str.isspace, word)) for word in option.split(SEPARATOR))


def _draw(marked: MarkedRow) -> Draw:
    return Draw(marked.candidates, marked.picks)


def _check_order(bundle: Bundle) -> str | None:
    is_whole = sorted(bundle.probe_order) == list(range(len(bundle.replies)))
    return None if is_whole else "the order of the probes does not name each mark once"


def _check_model(bundle: Bundle) -> str | None:
    model_hash = bundle.transcript.model_hash
    if bundle.terms.weights == Weights.NONE:
        if bundle.model_id is not None and hash_served_model(bundle.model_id) != model_hash:
            return "the served model is not the submitted one"
    elif bundle.weights is not None and bundle.weights.fault is None:
        files = [ModelFile(file.path, file.size_bytes, file.sha256) for file in bundle.weights.files]
        if hash_model_files(files) != model_hash:
            return "the returned files are not the submitted ones"
    return None


def _check_replies(bundle: Bundle, hashes: list[RowHashes], reply_hashes: list[Hash32]) -> str | None:
    pairs = [(row.prompt_hash, reply) for row, reply in zip(hashes, reply_hashes, strict=True)]
    if hash_replies(pairs) == bundle.transcript.replies_hash:
        return None
    return "the replies are not those of the transcript"


def _check_signature(bundle: Bundle) -> str | None:
    transcript = bundle.transcript
    if transcript.onchain_replies:
        return "replies on chain need no signature" if transcript.signature else None
    struct = typed_data.transcript(
        bundle.task_id, transcript.model_hash, transcript.marks_hash, transcript.replies_hash
    )
    signer = recover_typed_data(typed_data.domain(bundle.chain_id, bundle.contract), struct, transcript.signature)
    return None if signer == transcript.evidence_key else "the transcript is not signed by the miner's evidence key"


def _check_coverage(bundle: Bundle) -> str | None:
    stated = bundle.weights.coverage if bundle.weights else None
    if stated is None:
        return None
    histograms = {len(stated.histogram): stated.histogram}
    try:
        reference = Reference.from_json(stated.reference.encode()) if stated.reference is not None else None
        result = judge_histograms(histograms, seed=stated.seed, dropped=stated.dropped, reference=reference)
    except BadInput as error:
        return f"the trained share cannot be computed again: {error}"
    if reference is not None and reference.spec != bundle.spec:
        return "the reference is of another spec"
    expected = describe_coverage(result, reference)
    if expected is None or not _is_near(stated, expected):
        return "the figures are not what these ranks and this reference give"
    return None


def _is_near(stated: CoverageTest, expected: CoverageTest) -> bool:
    """Equal, but for the last digit, which another version of the libraries may round otherwise."""
    pairs = [
        (stated.rank_sum_log10_p, expected.rank_sum_log10_p),
        (stated.top_rank_log10_p, expected.top_rank_log10_p),
        *zip(stated.trained_share or (), expected.trained_share or (), strict=False),
    ]
    return (
        (stated.trained_share is None) == (expected.trained_share is None)
        and abs(stated.low_bps - expected.low_bps) <= 1
        and all(abs(float(ours) - float(theirs)) <= 2e-4 for ours, theirs in pairs)
    )


def _check_test(bundle: Bundle, hashes: list[RowHashes], reply_hashes: list[Hash32]) -> str | None:
    terms, stated = bundle.terms, bundle.test
    verdict = Verdict(
        thresholds=Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing),
        hits=count_hits([row.head_hash for row in hashes], reply_hashes),
        p0=tuple(_draw(marked).p0 for marked in bundle.rows),
        probes_per_draw=stated.probes_per_draw,
    )
    expected = describe_test(verdict)
    if (stated.hits, stated.zone) != (expected.hits, expected.zone):
        return f"{expected.hits} hits are {expected.zone}, not {stated.hits} {stated.zone}"
    for name in ("p_value", "tail", "p0", "hit_rate_95"):
        if not _is_close(getattr(stated, name), getattr(expected, name)):
            return f"{name} is not what these hits and draws give"
    named = [(rate.event, rate.given) for rate in stated.error_rates]
    if named != [(rate.event, rate.given) for rate in expected.error_rates] or not _is_close(
        tuple(rate.probability for rate in stated.error_rates),
        tuple(rate.probability for rate in expected.error_rates),
    ):
        return "the error rates are not those of the terms"
    return None


def _is_close(stated: str | tuple[str, ...], expected: str | tuple[str, ...]) -> bool:
    if isinstance(stated, str) or isinstance(expected, str):
        stated, expected = (str(stated),), (str(expected),)
    return len(stated) == len(expected) and all(
        abs(float(a) - float(b)) <= TOLERANCE * float(b) for a, b in zip(stated, expected, strict=True)
    )
