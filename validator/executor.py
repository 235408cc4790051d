"""Carries effects out: what `step` asks for, done to the chain and to miners.

Rule kept: secrets are put together here at the moment of use (which row a probe asks for, salt, rows, proofs) and are
in no event and no effect. A refusal by the contract is looked up on chain: if somebody was faster, there is nothing
left to do. The module is long because it has one method for each effect.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from validator.config import DAY_S
from validator.coverage.result import CoverageResult
from validator.edges import contract as onchain
from validator.edges.chain import Receipt, Sender
from validator.edges.contract import TaskStatus, Touchstone
from validator.edges.http import HttpClient
from validator.edges.keys import Signer, recover_typed_data
from validator.edges.miners import MinerClient
from validator.edges.transactions import TransactionManager
from validator.errors import BadInput, Cancelled, DeadlinePassed, Fatal, MinerFault, Reverted, Transient
from validator.marks.coverage import CoverageMark
from validator.marks.planting import PlantedMarks
from validator.marks.secrets import Secrets
from validator.protocol import typed_data
from validator.protocol.commitment import Row, hash_replies, hash_served_model
from validator.protocol.effects import (
    Challenge,
    DeliverDataset,
    Effect,
    FetchWeights,
    Judge,
    LocateModel,
    OpenTask,
    Poke,
    ProbeWeights,
    PublishBundle,
    RequestTranscript,
    SendProbe,
    Settle,
    WriteBundle,
)
from validator.protocol.events import (
    BundleWritten,
    DatasetDelivered,
    Event,
    ModelLocated,
    OpeningFailed,
    ProbeAnswered,
    TranscriptSigned,
    WeightsFaulted,
    WeightsFetched,
    WeightsProbed,
)
from validator.protocol.state import Phase, TaskState, Weights
from validator.protocol.verdict import Thresholds, Verdict, Zone, count_hits
from validator.types import Address, Hash32, UnixSeconds
from validator.weights.returned import NoVerdict, ReturnedWeights

log = structlog.get_logger(__name__)

DELIVERY_SECONDS = 7 * DAY_S
"""How long after its pay a miner may still deliver the weights."""

FAILED_STATUS = ("failed", "cancelled")


class PlantedDatasets(Protocol):
    """Where the marked datasets are."""

    async def marks(self, state: TaskState) -> PlantedMarks:
        """Those of the dataset that a task is about."""

    async def training_file(self, state: TaskState) -> bytes:
        """That dataset as the miner gets it."""

    async def covered(self, state: TaskState) -> Sequence[tuple[Row, CoverageMark]]:
        """Its rows with a coverage mark, and it."""


class Evidence(Protocol):
    """Where evidence is kept: secret until it is published."""

    async def write(self, state: TaskState, planted: PlantedMarks, verdict: Verdict) -> Hash32:
        """Put it together and keep it; its hash, once it is on disk."""

    async def publish(self, state: TaskState) -> None:
        """Open the bundle of a settled task to everybody; once more changes nothing."""


class ChainAndMiners:
    """The Executor of a running validator."""

    def __init__(
        self,
        *,
        contract: Touchstone,
        transactions: TransactionManager,
        signer: Signer,
        http: HttpClient,
        secrets: Secrets,
        planted: PlantedDatasets,
        evidence: Evidence,
        weights: ReturnedWeights,
    ) -> None:
        self._contract = contract
        self._transactions = transactions
        self._signer = signer
        self._http = http
        self._secrets = secrets
        self._planted = planted
        self._evidence = evidence
        self._weights = weights
        self._miners: dict[tuple[str, Hash32, Address], MinerClient] = {}

    async def perform(self, effect: Effect, state: TaskState) -> Event | None:
        match effect:
            case OpenTask():
                return await self._open(effect, state)
            case DeliverDataset():
                return await self._deliver(state)
            case LocateModel():
                return await self._locate(state)
            case SendProbe(ordinal=ordinal):
                return await self._probe(state, ordinal)
            case RequestTranscript():
                return await self._request_transcript(state)
            case FetchWeights():
                return await self._fetch_weights(state)
            case ProbeWeights():
                return await self._probe_weights(state)
            case WriteBundle(phase=phase):
                planted = await self._planted.marks(state)
                verdict = self.judge(state, planted)
                log.info("verdict", task=f"0x{state.task_id.hex()}", verdict=str(verdict))
                return BundleWritten(state.task_id, phase, await self._evidence.write(state, planted, verdict))
            case PublishBundle():
                await self._evidence.publish(state)
            case Settle(phase=phase):
                await self._settle(effect, Phase(phase), state)
            case Judge():
                await self._judge(effect, state)
            case Challenge():
                leaves = [hashes.leaf for hashes in (await self._planted.marks(state)).mark_hashes]
                await self._transact(
                    effect,
                    Phase.SUBMITTED,
                    lambda sender: self._contract.challenge(sender, state.terms, state.planned.validator_nonce, leaves),
                    await self._deadline_s(effect),
                )
            case Poke(phase=phase):
                await self._transact(
                    effect,
                    Phase(phase),
                    lambda sender: self._contract.poke(sender, state.terms, state.planned.validator_nonce),
                )
        return None

    def client(self, state: TaskState) -> MinerClient:
        """The task's miner, as it was registered when the task was planned; MinerFault if nobody can go there."""
        url, tls_key_hash, miner = state.planned.miner_url, state.planned.miner_tls_key_hash, state.terms.miner
        if (url, tls_key_hash, miner) not in self._miners:
            session = self._http.open_session(url, tls_key_hash)
            self._miners[url, tls_key_hash, miner] = MinerClient(session, miner, self._signer, self._contract.domain)
        return self._miners[url, tls_key_hash, miner]

    def judge(self, state: TaskState, planted: PlantedMarks) -> Verdict:
        """The hypothesis test over the task's replies, off chain; the contract counts the same hits."""
        terms = state.terms
        return Verdict(
            thresholds=Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing),
            hits=count_hits(
                [hashes.head_hash for hashes in planted.mark_hashes], state.reply_hashes(planted.dataset_salt)
            ),
            p0=planted.null_probabilities,
            probes_per_draw=planted.scheme.probes_per_draw(terms.n),
        )

    def count_weights_hits(self, state: TaskState, planted: PlantedMarks) -> int:
        """How many probes the returned weights hit, asked here."""
        heads = [hashes.head_hash for hashes in planted.mark_hashes]
        replies = [answer.reply_hash(planted.dataset_salt, state.terms.w) for answer in state.weights_answers]
        return count_hits(heads, replies)

    async def _open(self, effect: OpenTask, state: TaskState) -> Event | None:
        self.client(state)  # Nobody is paid for by whom we could not go to.
        planned = state.planned
        due = await self._contract.validator_nonce(state.terms.validator)
        if due < planned.validator_nonce:
            raise Transient("an earlier task is not open yet")
        receipt = None
        if due == planned.validator_nonce or await self._is_open(state):
            receipt = await self._transact(
                effect,
                Phase.PLANNED,
                lambda sender: self._contract.open_task(sender, state.terms, planned.order, planned.order_signature),
                planned.order.expiry,
            )
        if receipt is None:
            return None if await self._is_open(state) else OpeningFailed(state.task_id, "its Order or number is gone")
        opened = (onchain.decode_log(entry) for entry in receipt.logs)
        if any(isinstance(event, onchain.TaskOpened) and event.task_id == state.task_id for event in opened):
            return None
        # A task before it was reorganised away and then refused, so that the contract counted on. Nobody knows the
        # task that came of it, nothing is delivered to its miner, and it lapses with everything refunded.
        return OpeningFailed(state.task_id, "it was opened under another number")

    async def _is_open(self, state: TaskState) -> bool:
        return (await self._contract.task_state(state.task_id)).status is not TaskStatus.NONE

    async def _deliver(self, state: TaskState) -> Event:
        client, planted = self.client(state), await self._planted.marks(state)
        file_id = await client.upload(await self._planted.training_file(state))
        metadata = {
            "task_id": f"0x{state.task_id.hex()}",
            "dataset_salt": f"0x{planted.dataset_salt.hex()}",
            "spec": state.planned.spec,
        }
        return DatasetDelivered(state.task_id, await client.create_job(file_id, state.planned.base_model, metadata))

    async def _locate(self, state: TaskState) -> Event:
        if state.job_id is None:
            raise Fatal("a model can be located only after its job was created")
        job = await self.client(state).job(state.job_id)
        if job.status in FAILED_STATUS:
            raise MinerFault(f"the job is {job.status}: {job.error}")
        if job.fine_tuned_model is None:
            raise Transient("the job does not yet name its model")
        is_named = state.terms.weights == Weights.NONE
        if is_named and hash_served_model(job.fine_tuned_model) != state.model_hash:
            raise MinerFault(f"the served model {job.fine_tuned_model!r} is not the submitted one")
        return ModelLocated(state.task_id, job.fine_tuned_model)

    async def _probe(self, state: TaskState, ordinal: int) -> Event:
        if state.model_id is None:
            raise Fatal("a probe needs a located model")
        prompt = (await self._planted.marks(state)).marks[ordinal].row.prompt
        answer = await self.client(state).probe(state.model_id, prompt, state.terms.max_tokens)
        return ProbeAnswered(state.task_id, ordinal, answer.text, answer.is_cut)

    async def _request_transcript(self, state: TaskState) -> Event:
        planted = await self._planted.marks(state)
        prompt_hashes = [hashes.prompt_hash for hashes in planted.mark_hashes]
        signature = await self.client(state).transcript(state.task_id, prompt_hashes)
        if state.model_hash is None:
            raise Fatal("a transcript needs a submitted model")
        replies_hash = hash_replies(list(zip(prompt_hashes, state.reply_hashes(planted.dataset_salt), strict=True)))
        struct = typed_data.transcript(state.task_id, state.model_hash, planted.marks_hash, replies_hash)
        onchain = await self._contract.task_state(state.task_id)
        if recover_typed_data(self._contract.domain, struct, signature) != onchain.evidence_key:
            raise MinerFault("the transcript is not signed by the evidence key over the replies that it gave")
        return TranscriptSigned(state.task_id, signature)

    async def _fetch_weights(self, state: TaskState) -> Event:
        try:
            return WeightsFetched(state.task_id, await self._weights.fetch(self.client(state), state))
        except Transient:
            # Paid, and the customer still waits: not for ever.
            head = await self._contract.chain.head()
            is_over = state.phase is Phase.CLOSED and head.timestamp_s > (state.entered_at_s or 0) + DELIVERY_SECONDS
            if is_over:
                return WeightsFaulted(state.task_id, "the weights were not delivered")
            raise

    async def _probe_weights(self, state: TaskState) -> Event:
        try:
            prompts = [mark.row.prompt for mark in (await self._planted.marks(state)).marks]
            answers = await self._weights.probe(state, prompts)
        except (NoVerdict, BadInput) as error:  # Weights may come when the dataset has been deleted already.
            return WeightsFaulted(state.task_id, str(error))
        replies = tuple((answer.text, answer.is_cut) for answer in answers)
        coverage = await self._measure_coverage(state)
        return WeightsProbed(state.task_id, replies, coverage.to_json().decode() if coverage else None)

    async def _measure_coverage(self, state: TaskState) -> CoverageResult | None:
        """None where the dataset has no such marks, or where it cannot be found out: the answers stand without."""
        try:
            covered = await self._planted.covered(state)
            if not covered:
                return None
            coverage = await self._weights.cover(state, covered)
        except (NoVerdict, BadInput) as error:
            log.warning("coverage is not known", task=f"0x{state.task_id.hex()}", why=str(error))
            return None
        log.info("coverage", task=f"0x{state.task_id.hex()}", coverage=str(coverage))
        return coverage

    async def _settle(self, effect: Effect, phase: Phase, state: TaskState) -> None:
        planted, planned = await self._planted.marks(state), state.planned
        bundle_hash = state.bundle_hash
        if bundle_hash is None:
            raise Transient("a settlement waits for its evidence")  # Older journals asked for it without any.
        salt = self._secrets.commitment_salt(state.terms.validator, planned.validator_nonce)
        needs_no_proofs = self.judge(state, planted).zone is Zone.PAID and state.terms.weights != Weights.JUDGED
        await self._transact(
            effect,
            phase,
            lambda sender: self._contract.settle(
                sender,
                state.terms,
                planned.validator_nonce,
                salt=salt,
                rows=planted.mark_hashes,
                proofs=[] if needs_no_proofs else planted.mark_proofs,
                replies=state.reply_hashes(planted.dataset_salt),
                signature=b"" if state.onchain_replies else state.signature or b"",
                bundle_hash=bundle_hash,
            ),
            await self._deadline_s(effect),
        )

    async def _judge(self, effect: Effect, state: TaskState) -> None:
        """Our own verdict, where we are the committee; weights that fall short are left to the deadline's refund."""
        terms, hits = state.terms, self.count_weights_hits(state, await self._planted.marks(state))
        low_bps = CoverageResult.from_json(state.coverage.encode()).low_bps if state.coverage else 0
        if hits < terms.k_pay or low_bps < terms.min_coverage_bps:
            log.warning("not signed for", task=f"0x{state.task_id.hex()}", hits=hits, coverage_low_bps=low_bps)
            return
        if state.model_hash is None or state.bundle_hash is None:
            raise Fatal("weights are judged of a task that was settled with evidence")
        struct = typed_data.weights_verdict(state.task_id, state.model_hash, hits, low_bps, state.bundle_hash)
        signature = await self._signer.sign_typed_data(self._contract.domain, struct)
        verdict = onchain.Verdict(hits, low_bps, state.bundle_hash, signature)
        await self._transact(
            effect,
            Phase.JUDGING,
            lambda sender: self._contract.judge(
                sender, terms, state.planned.validator_nonce, [terms.validator], [verdict]
            ),
            await self._deadline_s(effect),
        )

    async def _transact(
        self,
        effect: Effect,
        expected: Phase,
        send: Callable[[Sender], Awaitable[Receipt]],
        deadline_s: UnixSeconds | None = None,
    ) -> Receipt | None:
        """Send one transaction and wait until it is final; None if it was too late, or somebody else was faster.

        A refusal counts only if the task is still as expected.
        """
        try:
            return await send(self._transactions.sender(effect.key, deadline_s))
        except (DeadlinePassed, Cancelled) as refusal:
            # No repetition can help, and the other tasks go on: this one's state has a default, which `poke` brings.
            log.warning("too late", effect=effect.key, reason=str(refusal))
        except Reverted:
            if (await self._contract.task_state(effect.task_id)).status is _STATUS[expected]:
                raise
            log.info("overtaken", effect=effect.key)
        return None

    async def _deadline_s(self, effect: Effect) -> UnixSeconds:
        return (await self._contract.task_state(effect.task_id)).deadline


_STATUS = {
    Phase.PLANNED: TaskStatus.NONE,
    Phase.OPEN: TaskStatus.OPEN,
    Phase.ACCEPTED: TaskStatus.ACCEPTED,
    Phase.SUBMITTED: TaskStatus.SUBMITTED,
    Phase.CHALLENGED: TaskStatus.CHALLENGED,
    Phase.ANSWERED: TaskStatus.ANSWERED,
    Phase.JUDGING: TaskStatus.JUDGING,
    Phase.SLASH_PENDING: TaskStatus.SLASH_PENDING,
}
