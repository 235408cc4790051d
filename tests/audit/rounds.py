"""Tasks of every outcome on a market, and tasks with real marks, real replies and a real bundle."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from contracts import TaskState, load_artifact
from tests import factories as f
from tests.audit.chains import RecordedChain
from tests.contracts.market import Market
from tests.contracts.rounds import COMMITTEE, EVIDENCE, MODEL_HASH, PAYER, VALIDATOR, Round
from tests.unit.marks.scorers import HashProposer
from validator.base_model.grammar import generate_rows
from validator.coverage.reference import Reference
from validator.evidence.bundle import Bundle, Versions, build_bundle
from validator.marks.planting import PlantedDataset, plant
from validator.marks.schemes import Canary, Scheme
from validator.marks.secrets import Secrets
from validator.protocol.commitment import MerkleTree, encode_scheme, hash_row, hash_spec, keccak
from validator.protocol.state import Answer, Phase
from validator.protocol.state import TaskState as ValidatorsTask
from validator.protocol.verdict import Thresholds, Verdict, count_hits
from validator.types import Address, Hash32

MODEL_ID = "model"
SPEC = '{"base_model":"tiny"}'
SEED = f.digest("master seed of the audit tests")
MISS = "Something else altogether, of eight words or more."


def make_market(chain: RecordedChain | None = None) -> Market:
    return Market(chain or RecordedChain())


def paths(market: Market) -> Iterator[Callable[[], Any]]:
    """One task of each way to each outcome, and one that is left in each running state."""
    n = 16

    def lapse(state: TaskState) -> None:
        round_ = market.reach(state)
        market.expire(round_)
        market.poke(round_)

    def settle(state: TaskState, hits: int) -> Round:
        round_ = market.reach(state)
        if state is TaskState.ANSWERED:
            hits = n
        market.settle(round_, hits)
        return round_

    def slash() -> None:
        round_ = settle(TaskState.SUBMITTED, 0)
        market.expire(round_)
        market.poke(round_)

    def judge() -> None:
        round_ = market.reach(TaskState.JUDGING)
        market.judge(round_, [market.verdict(round_, member) for member in COMMITTEE[:2]])

    yield lambda: settle(TaskState.SUBMITTED, n)
    yield lambda: settle(TaskState.SUBMITTED, n // 2)
    yield slash
    yield lambda: settle(TaskState.ANSWERED, n)
    yield judge
    for state in list(TaskState)[TaskState.OPEN : TaskState.JUDGING + 1]:
        yield lambda state=state: lapse(state)
    for state in list(TaskState)[TaskState.OPEN : TaskState.SLASH_PENDING + 1]:
        yield lambda state=state: market.reach(state)


def play(market: Market, count: int) -> None:
    """So many tasks, of every outcome in turn."""
    played = 0
    while played < count:
        for path in paths(market):
            if played < count:
                path()
                market.chain.now += 7
                played += 1


# --- with evidence


@cache
def planted_with(scheme: Scheme, rows_seed: int, contract: str, chain_id: int) -> tuple[PlantedDataset, MerkleTree]:
    secrets = Secrets(SEED, chain_id, Address(contract))
    planted = plant(
        generate_rows(300, seed=rows_seed), scheme, 16, secrets=secrets, payer=PAYER.address, scorer=HashProposer()
    )
    tree = MerkleTree(hash_row(planted.dataset_salt, row, scheme.w).leaf for row in planted.rows)
    return planted, tree


@dataclass
class EvidenceRound:
    """A task with real marks; `settle` does it with the bundle that `edit` makes of the honest one."""

    market: Market
    round: Round
    planted: PlantedDataset
    hits: int
    changes: dict[str, Any] = field(default_factory=dict)
    """To the validator's own state of the task."""
    reference: Reference | None = None
    """What its coverage is estimated by."""

    @classmethod
    def open(
        cls,
        market: Market,
        rows_seed: int = 1,
        hits: int = 15,
        scheme: Scheme = Canary(),  # noqa: B008
        changes: dict[str, Any] | None = None,
        **terms: Any,
    ) -> "EvidenceRound":
        planted, tree = planted_with(scheme, rows_seed, market.address, market.chain.chain_id)
        secrets = Secrets(SEED, market.chain.chain_id, Address(market.address))
        nonce = market.view("validator_nonce", VALIDATOR.address)
        round_ = market.make_round(
            **{
                "scheme": encode_scheme(scheme.name),
                "w": scheme.w,
                "max_tokens": scheme.max_tokens,
                "dataset_root": planted.dataset_root,
                "spec_hash": hash_spec(SPEC),
            }
            | terms
        )
        salt = secrets.commitment_salt(Address(VALIDATOR.address), nonce)
        round_ = market.recommit(replace(round_, marks=list(planted.mark_hashes), tree=tree, salt=salt))
        return cls(market, round_, planted, hits, changes or {})

    def submit(self) -> "EvidenceRound":
        self.market.open(self.round)
        self.market.accept(self.round)
        self.market.submit(self.round)
        return self

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(
            Answer(f"{mark.draw.text} and so on", is_cut=True) if ordinal < self.hits else Answer(MISS, is_cut=False)
            for ordinal, mark in enumerate(self.planted.marks)
        )

    @property
    def state(self) -> ValidatorsTask:
        planned = replace(
            f.PLANNED,
            task_id=self.round.task_id,
            terms=self.round.terms,
            validator_nonce=self.round.nonce,
            spec=SPEC,
            base_hits=0,
        )
        state = ValidatorsTask(planned, Phase.SUBMITTED, model_hash=MODEL_HASH, model_id=MODEL_ID, answers=self.answers)
        return replace(state, **{"signature": self.sign(state.reply_hashes(self.planted.dataset_salt))} | self.changes)

    def sign(self, replies: tuple[Hash32, ...]) -> bytes:
        return self.market.sign(EVIDENCE, self.round.transcript(replies))

    def bundle(self) -> Bundle:
        state, terms = self.state, self.round.terms
        replies = state.reply_hashes(self.planted.dataset_salt)
        verdict = Verdict(
            Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing),
            count_hits([row.head_hash for row in self.planted.mark_hashes], replies),
            self.planted.null_probabilities,
            self.planted.scheme.probes_per_draw(terms.n),
        )
        code_hash = keccak(load_artifact().runtime_bytecode)
        versions = Versions(
            touchstone="0.1.0", scipy="1.17.0", generator=self.planted.generator, contract_code_hash=code_hash
        )
        return build_bundle(
            state,
            self.planted,
            verdict,
            chain_id=self.market.chain.chain_id,
            contract=Address(self.market.address),
            commitment_salt=self.round.salt,
            evidence_key=Address(EVIDENCE.address),
            versions=versions,
            reference=self.reference,
        )

    def settle(self, directory: Path | None, edit: Callable[[Bundle], Bundle] = lambda bundle: bundle) -> Bundle:
        """And put the bundle into a directory, as a validator publishes it."""
        bundle = edit(self.bundle())
        replies = self.state.reply_hashes(self.planted.dataset_salt)
        changes = {"replies": replies, "bundle_hash": bundle.bundle_hash}
        if not self.state.onchain_replies:
            changes["signature"] = self.sign(replies)
        self.market.settle(self.round, self.hits, **changes)
        if directory is not None:
            (directory / f"0x{bundle.bundle_hash.hex()}.json").write_bytes(bundle.encode())
        return bundle
