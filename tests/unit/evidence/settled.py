"""Tasks as they stand right before they are settled: real marks, a really signed transcript, the evidence."""

from dataclasses import replace
from functools import cache
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from tests.factories import CHAIN_ID, CONTRACT, MINER, MODEL_HASH, MODEL_ID, PAYER, VALIDATOR, digest, make_planned
from tests.sentinels import register
from tests.unit.marks.scorers import HashProposer
from validator.base_model.grammar import generate_rows
from validator.coverage.reference import Reference
from validator.evidence.bundle import Bundle, Versions, build_bundle
from validator.marks.planting import PlantedDataset, plant
from validator.marks.schemes import Backdoor, Canary, Scheme
from validator.marks.secrets import Secrets, derive_bundle_key
from validator.plan.terms import choose_thresholds
from validator.protocol import typed_data
from validator.protocol.commitment import encode_scheme, hash_commitment, hash_replies
from validator.protocol.state import Answer, Phase, TaskState, Weights
from validator.protocol.verdict import Thresholds, Verdict, count_hits
from validator.types import Address

N = 16
SEED = digest("master seed of the evidence tests")
register("master seed of the evidence tests", SEED)
register("bundle key of the evidence tests", derive_bundle_key(SEED))
SECRETS = Secrets(SEED, CHAIN_ID, CONTRACT)
SALT = SECRETS.commitment_salt(VALIDATOR, 0)
EVIDENCE_KEY = Account.from_key(digest("evidence key"))
VERSIONS = Versions(touchstone="0.1.0", scipy="1.17.0", generator="hash", contract_code_hash=digest("code"))


@cache
def planted_with(scheme: Scheme) -> PlantedDataset:
    return plant(generate_rows(300, seed=1), scheme, N, secrets=SECRETS, payer=PAYER, scorer=HashProposer())


def settled_task(
    hits: int = 15,
    scheme: Scheme = Canary(),  # noqa: B008
    weights: Weights = Weights.NONE,
    **changes: Any,
) -> TaskState:
    """A probed and signed task whose first `hits` replies are the marks, with text behind them."""
    planted = planted_with(scheme)
    thresholds = choose_thresholds(N, slashing=True)
    commitment = hash_commitment(
        chain_id=CHAIN_ID,
        contract=CONTRACT,
        validator=VALIDATOR,
        miner=MINER,
        miner_epoch=1,
        dataset_root=planted.dataset_root,
        marks_hash=planted.marks_hash,
        salt=SALT,
    )
    task = make_planned(
        scheme=encode_scheme(scheme.name),
        w=scheme.w,
        n=N,
        k_pay=thresholds.k_pay,
        k_slash=thresholds.k_slash,
        max_tokens=scheme.max_tokens,
        dataset_root=planted.dataset_root,
        commitment=commitment,
        weights=weights,
    )
    answers = tuple(
        Answer(f"\n{mark.draw.text} and then — ☂ \x01", is_cut=True)
        if ordinal < hits
        else Answer("Something else altogether, of eight words or more.", is_cut=False)
        for ordinal, mark in enumerate(planted.marks)
    )
    state = TaskState(task, Phase.SUBMITTED, model_hash=MODEL_HASH, model_id=MODEL_ID, answers=answers)
    return replace(state, **{"signature": sign(state, planted), **changes})


def sign(state: TaskState, planted: PlantedDataset) -> bytes:
    replies = state.reply_hashes(planted.dataset_salt)
    pairs = [(row.prompt_hash, reply) for row, reply in zip(planted.mark_hashes, replies, strict=True)]
    data = typed_data.transcript(state.task_id, MODEL_HASH, planted.marks_hash, hash_replies(pairs))
    signable = encode_typed_data(typed_data.domain(CHAIN_ID, CONTRACT), data.types, data.message)
    return bytes(EVIDENCE_KEY.sign_message(signable).signature)


def bundle_of(state: TaskState, scheme: Scheme = Canary(), reference: Reference | None = None) -> Bundle:  # noqa: B008
    planted, terms = planted_with(scheme), state.terms
    replies = state.reply_hashes(planted.dataset_salt)
    verdict = Verdict(
        Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing),
        count_hits([row.head_hash for row in planted.mark_hashes], replies),
        planted.null_probabilities,
        scheme.probes_per_draw(terms.n),
    )
    return build_bundle(
        state,
        planted,
        verdict,
        chain_id=CHAIN_ID,
        contract=CONTRACT,
        commitment_salt=SALT,
        evidence_key=Address(EVIDENCE_KEY.address),
        versions=VERSIONS,
        reference=reference,
    )


SMALL_BACKDOOR = Backdoor(k=4)
