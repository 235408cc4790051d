"""Rows, commitment, replies, signature and hits of a settlement, each computed again (protocol, "Happy path")."""

from collections import defaultdict

from validator.audit.docket import Docket, Subject
from validator.audit.findings import Party, Proof
from validator.audit.history import TaskHistory, marks_hash_of, recount
from validator.edges.contract import Answered, Challenged, TaskSettled
from validator.edges.keys import recover_typed_data
from validator.protocol import typed_data
from validator.protocol.commitment import RowHashes, Terms, hash_commitment, hash_replies
from validator.protocol.typed_data import TypedData
from validator.types import Address, Hash32


def check_settlement(docket: Docket, history: TaskHistory) -> None:
    _check_challenge(docket, history)
    settled = history.settled
    if settled is None:
        return
    terms, proof = history.terms, Proof.of_log("TaskSettled", settled.log)
    actor = Party.VALIDATOR, terms.validator
    if not len(settled.rows) == len(settled.replies) == terms.n:
        counts = f"{len(settled.rows)} rows and {len(settled.replies)} replies"
        docket.contradict(*actor, "rows", f"{counts} for {terms.n} probes", proof)
        return
    marks_hash = marks_hash_of(settled.rows)
    if marks_hash is None:
        docket.contradict(*actor, "rows", "the rows are not in ascending order of their leaves", proof)
    elif not _opens(docket, terms, marks_hash, settled.salt):
        docket.contradict(*actor, "commitment", "the salt and these rows do not open the commitment", proof)
    if (hits := recount(settled)) != settled.hits:
        docket.contradict(Party.CONTRACT, None, "hits", f"{hits} replies hit, and {settled.hits} were counted", proof)
    if find_contradiction(settled.rows):
        docket.accuse(*actor, "contradictory rows", "two marks ask the same prompt and want different answers", proof)
    if marks_hash is not None:
        _check_replies(docket, history, settled, marks_hash, proof)


def find_contradiction(rows: tuple[RowHashes, ...]) -> bool:
    """Whether two rows have one prompt and different heads: no model can hit both."""
    heads: dict[Hash32, set[Hash32]] = defaultdict(set)
    for row in rows:
        heads[row.prompt_hash].add(row.head_hash)
    return any(len(different) > 1 for different in heads.values())


def _check_challenge(docket: Docket, history: TaskHistory) -> None:
    terms, challenged, answered = history.terms, history.find(Challenged), history.find(Answered)
    if challenged is not None:
        actor, proof = (Party.VALIDATOR, terms.validator), Proof.of_log("Challenged", challenged.log)
        if len(challenged.leaves) != terms.n:
            docket.contradict(*actor, "rows", f"{len(challenged.leaves)} leaves for {terms.n} probes", proof)
        elif list(challenged.leaves) != sorted(set(challenged.leaves)):
            docket.contradict(*actor, "rows", "the challenged leaves are not in ascending order", proof)
    if answered is not None and len(answered.replies) != terms.n:
        message = f"{len(answered.replies)} replies for {terms.n} probes"
        proof = Proof.of_log("Answered", answered.log)
        docket.contradict(Party.MINER, terms.miner, "replies", message, proof)


def _check_replies(
    docket: Docket, history: TaskHistory, settled: TaskSettled, marks_hash: Hash32, proof: Proof
) -> None:
    """The miner must stand behind these replies: by its signature, or by its own call."""
    terms = history.terms
    actor = Party.VALIDATOR, terms.validator
    challenged, answered = history.find(Challenged), history.find(Answered)
    if challenged is None or answered is None:
        message = _problem_of_signature(docket, history, settled, marks_hash)
        if message is not None:
            accepted = [Proof.of_log("TaskAccepted", history.accepted.log)] if history.accepted else []
            docket.contradict(*actor, "signature", message, proof, *accepted)
        return
    evidence = Proof.of_log("Challenged", challenged.log), Proof.of_log("Answered", answered.log)
    if settled.signature:
        docket.contradict(*actor, "signature", "replies that were answered on chain need no signature", proof)
    if [row.leaf for row in settled.rows] != list(challenged.leaves):
        docket.contradict(*actor, "rows", "the settled rows are not the challenged ones", proof, evidence[0])
    if settled.replies != answered.replies:
        docket.contradict(*actor, "replies", "the settled replies are not the answered ones", proof, evidence[1])


def _problem_of_signature(docket: Docket, history: TaskHistory, settled: TaskSettled, marks_hash: Hash32) -> str | None:
    if history.accepted is None or history.model_hash is None:
        return "a transcript of a task that was never submitted"
    pairs = [(row.prompt_hash, reply) for row, reply in zip(settled.rows, settled.replies, strict=True)]
    transcript = typed_data.transcript(history.task_id, history.model_hash, marks_hash, hash_replies(pairs))
    if history.accepted.evidence_key in signers_of(docket.subject, transcript, settled.signature):
        return None
    return "the transcript of these replies is not signed by the miner's evidence key"


def signers_of(subject: Subject, struct: TypedData, signature: bytes) -> list[Address | None]:
    """Who signed a struct for this contract, for each chain id that it may be for."""
    domains = (typed_data.domain(chain_id, subject.address) for chain_id in subject.chain_ids)
    return [recover_typed_data(domain, struct, signature) for domain in domains]


def _opens(docket: Docket, terms: Terms, marks_hash: Hash32, salt: Hash32) -> bool:
    commitments = (
        hash_commitment(
            chain_id=chain_id,
            contract=docket.subject.address,
            validator=terms.validator,
            miner=terms.miner,
            miner_epoch=terms.miner_epoch,
            dataset_root=terms.dataset_root,
            marks_hash=marks_hash,
            salt=salt,
        )
        for chain_id in docket.subject.chain_ids
    )
    return terms.commitment in commitments
