"""What may come behind a settlement: a committee's verdicts on weights, and a dispute."""

import itertools

from validator.audit.checks.settlement import signers_of
from validator.audit.docket import Docket
from validator.audit.findings import Party, Proof, Severity
from validator.audit.history import TaskHistory
from validator.edges.contract import Disputed, Judged
from validator.protocol import typed_data
from validator.protocol.commitment import verify_proof
from validator.types import Hash32


def check_sequels(docket: Docket, history: TaskHistory) -> None:
    judged = history.find_all(Judged)
    for verdict in judged:
        _check_verdict(docket, history, verdict)
    if judged:
        _check_quorum(docket, history, judged)
    disputed = history.find(Disputed)
    if disputed is not None:
        _check_dispute(docket, history, disputed)


def _check_verdict(docket: Docket, history: TaskHistory, verdict: Judged) -> None:
    """Who signed is what counts; that the signer is of the committee only the judging transaction shows."""
    terms, proof = history.terms, Proof.of_log("Judged", verdict.log)
    struct = typed_data.weights_verdict(
        history.task_id,
        history.model_hash or Hash32(bytes(32)),
        verdict.hits,
        verdict.coverage_low_bps,
        verdict.bundle_hash,
    )
    actor = Party.COMMITTEE, verdict.signer
    if verdict.signer not in signers_of(docket.subject, struct, verdict.signature):
        docket.contradict(*actor, "judged", "the verdict on the weights is not signed by its signer", proof)
    if verdict.hits < terms.k_pay or verdict.coverage_low_bps < terms.min_coverage_bps:
        docket.contradict(*actor, "judged", "the verdict on the weights is not one that pays", proof)
    settled = history.settled
    if settled is not None and verdict.bundle_hash != settled.bundle_hash:
        message = "the committee's verdict is about another bundle than the settlement's"
        docket.accuse(*actor, "judged", message, proof, severity=Severity.WARNING)


def _check_quorum(docket: Docket, history: TaskHistory, judged: list[Judged]) -> None:
    proofs = [Proof.of_log("Judged", verdict.log) for verdict in judged]
    signers = [int(verdict.signer, 16) for verdict in judged]
    if len(judged) < history.terms.quorum:
        message = f"{len(judged)} verdicts on the weights, and {history.terms.quorum} are a quorum"
        docket.contradict(Party.CONTRACT, None, "judged", message, *proofs)
    if any(a >= b for a, b in itertools.pairwise(signers)):
        docket.contradict(Party.CONTRACT, None, "judged", "a signer was counted twice, or out of order", *proofs)


def _check_dispute(docket: Docket, history: TaskHistory, disputed: Disputed) -> None:
    """A good one shows that the validator's own dataset contradicts a mark, for which it has lost its bond."""
    settled, terms = history.settled, history.terms
    proof = Proof.of_log("Disputed", disputed.log)
    problems = {
        "the row is none of the settled marks": settled is not None and disputed.mark in settled.rows,
        "the other row is not in the dataset": verify_proof(terms.dataset_root, disputed.other.leaf, disputed.proof),
        "the rows have different prompts": disputed.mark.prompt_hash == disputed.other.prompt_hash,
        "the rows have the same head": disputed.mark.head_hash != disputed.other.head_hash,
    }
    wrong = [problem for problem, is_right in problems.items() if not is_right]
    for problem in wrong:
        docket.contradict(Party.CONTRACT, None, "dispute", f"a dispute was upheld although {problem}", proof)
    if not wrong:
        message = "the dataset contradicts a mark: the slash was voided at the validator's cost"
        docket.accuse(Party.VALIDATOR, terms.validator, "dispute", message, proof, severity=Severity.WARNING)
