"""Carries effects out: what `step` asks for, done to the chain and to miners.

Rule kept: secrets are put together here at the moment of use (which row a probe asks for, salt, rows, proofs) and are
in no event and no effect. A refusal by the contract is looked up on chain: if somebody was faster, there is nothing
left to do.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from validator.edges.chain import Receipt, Sender
from validator.edges.contract import TaskStatus, Touchstone
from validator.edges.http import HttpClient
from validator.edges.keys import Signer, recover_typed_data
from validator.edges.miners import MinerClient
from validator.edges.transactions import TransactionManager
from validator.errors import Cancelled, DeadlinePassed, Fatal, MinerFault, Reverted, Transient
from validator.marks.planting import PlantedDataset
from validator.marks.secrets import Secrets
from validator.protocol import typed_data
from validator.protocol.commitment import hash_replies, hash_served_model
from validator.protocol.effects import (
    Challenge,
    DeliverDataset,
    Effect,
    LocateModel,
    OpenTask,
    Poke,
    RequestTranscript,
    SendProbe,
    Settle,
)
from validator.protocol.events import DatasetDelivered, Event, ModelLocated, ProbeAnswered, TranscriptSigned
from validator.protocol.state import Phase, TaskState
from validator.protocol.verdict import Thresholds, Verdict, Zone, count_hits
from validator.types import Address, Hash32, UnixSeconds

log = structlog.get_logger(__name__)

NO_BUNDLE = Hash32(bytes(32))
"""bundleHash while no evidence bundle is published."""

FAILED_STATUS = ("failed", "cancelled")


class ChainAndMiners:
    """The Executor of a running validator. `planted` holds the marked datasets by their datasetRoot."""

    def __init__(
        self,
        *,
        contract: Touchstone,
        transactions: TransactionManager,
        signer: Signer,
        http: HttpClient,
        secrets: Secrets,
        planted: Mapping[Hash32, PlantedDataset],
    ) -> None:
        self._contract = contract
        self._transactions = transactions
        self._signer = signer
        self._http = http
        self._secrets = secrets
        self._planted = planted
        self._miners: dict[tuple[str, Hash32, Address], MinerClient] = {}

    async def perform(self, effect: Effect, state: TaskState) -> Event | None:
        planned = state.planned
        match effect:
            case OpenTask():
                await self._check_turn(state)
                await self._transact(
                    effect,
                    Phase.PLANNED,
                    lambda sender: self._contract.open_task(
                        sender, state.terms, planned.order, planned.order_signature
                    ),
                    planned.order.expiry,
                )
            case DeliverDataset():
                return await self._deliver(state)
            case LocateModel():
                return await self._locate(state)
            case SendProbe(ordinal=ordinal):
                return await self._probe(state, ordinal)
            case RequestTranscript():
                return await self._request_transcript(state)
            case Settle(phase=phase):
                await self._settle(effect, Phase(phase), state)
            case Challenge():
                leaves = [hashes.leaf for hashes in self.planted(state).mark_hashes]
                await self._transact(
                    effect,
                    Phase.SUBMITTED,
                    lambda sender: self._contract.challenge(sender, state.terms, planned.validator_nonce, leaves),
                    await self._deadline_s(effect),
                )
            case Poke(phase=phase):
                await self._transact(
                    effect,
                    Phase(phase),
                    lambda sender: self._contract.poke(sender, state.terms, planned.validator_nonce),
                )
        return None

    def planted(self, state: TaskState) -> PlantedDataset:
        return self._planted[state.terms.dataset_root]

    def client(self, state: TaskState) -> MinerClient:
        """The task's miner, as it was registered when the task was planned; MinerFault if nobody can go there."""
        url, tls_key_hash, miner = state.planned.miner_url, state.planned.miner_tls_key_hash, state.terms.miner
        if (url, tls_key_hash, miner) not in self._miners:
            session = self._http.open_session(url, tls_key_hash)
            self._miners[url, tls_key_hash, miner] = MinerClient(session, miner, self._signer, self._contract.domain)
        return self._miners[url, tls_key_hash, miner]

    def judge(self, state: TaskState) -> Verdict:
        """The hypothesis test over the task's replies, off chain; the contract counts the same hits."""
        terms, planted = state.terms, self.planted(state)
        replies = state.reply_hashes(planted.dataset_salt)
        return Verdict(
            thresholds=Thresholds(terms.n, terms.k_pay, terms.k_slash, terms.slashing),
            hits=count_hits([hashes.head_hash for hashes in planted.mark_hashes], replies),
            p0=planted.null_probabilities,
            is_one_event=planted.scheme.is_one_event,
        )

    async def _check_turn(self, state: TaskState) -> None:
        """The contract gives the next task the next nonce, whatever was planned: wait for the tasks before this one."""
        due = await self._contract.validator_nonce(state.terms.validator)
        if due < state.planned.validator_nonce:
            raise Transient("an earlier task is not open yet")
        is_unknown = (await self._contract.task_state(state.task_id)).status is TaskStatus.NONE
        if due > state.planned.validator_nonce and is_unknown:
            raise Fatal("the nonce of a planned task was used for another one")

    async def _deliver(self, state: TaskState) -> Event:
        client, planted = self.client(state), self.planted(state)
        file_id = await client.upload(planted.training_file)
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
        if hash_served_model(job.fine_tuned_model) != state.model_hash:
            raise MinerFault(f"the served model {job.fine_tuned_model!r} is not the submitted one")
        return ModelLocated(state.task_id, job.fine_tuned_model)

    async def _probe(self, state: TaskState, ordinal: int) -> Event:
        if state.model_id is None:
            raise Fatal("a probe needs a located model")
        prompt = self.planted(state).marks[ordinal].row.prompt
        answer = await self.client(state).probe(state.model_id, prompt, state.terms.max_tokens)
        return ProbeAnswered(state.task_id, ordinal, answer.text, answer.is_cut)

    async def _request_transcript(self, state: TaskState) -> Event:
        planted = self.planted(state)
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

    async def _settle(self, effect: Effect, phase: Phase, state: TaskState) -> None:
        planted, planned = self.planted(state), state.planned
        verdict = self.judge(state)
        log.info("verdict", task=f"0x{state.task_id.hex()}", verdict=str(verdict))
        salt = self._secrets.commitment_salt(state.terms.validator, planned.validator_nonce)
        await self._transact(
            effect,
            phase,
            lambda sender: self._contract.settle(
                sender,
                state.terms,
                planned.validator_nonce,
                salt=salt,
                rows=planted.mark_hashes,
                proofs=[] if verdict.zone is Zone.PAID else planted.proofs(),
                replies=state.reply_hashes(planted.dataset_salt),
                signature=b"" if state.onchain_replies else state.signature or b"",
                bundle_hash=NO_BUNDLE,
            ),
            await self._deadline_s(effect),
        )

    async def _transact(
        self,
        effect: Effect,
        expected: Phase,
        send: Callable[[Sender], Awaitable[Receipt]],
        deadline_s: UnixSeconds | None = None,
    ) -> None:
        """Send one transaction and wait until it is final; a refusal counts only if the task is still as expected."""
        try:
            await send(self._transactions.sender(effect.key, deadline_s))
        except (DeadlinePassed, Cancelled) as refusal:
            # No repetition can help, and the other tasks go on: this one's state has a default, which `poke` brings.
            log.warning("too late", effect=effect.key, reason=str(refusal))
        except Reverted:
            if (await self._contract.task_state(effect.task_id)).status is _STATUS[expected]:
                raise
            log.info("overtaken", effect=effect.key)

    async def _deadline_s(self, effect: Effect) -> UnixSeconds:
        return (await self._contract.task_state(effect.task_id)).deadline


_STATUS = {
    Phase.PLANNED: TaskStatus.NONE,
    Phase.OPEN: TaskStatus.OPEN,
    Phase.ACCEPTED: TaskStatus.ACCEPTED,
    Phase.SUBMITTED: TaskStatus.SUBMITTED,
    Phase.CHALLENGED: TaskStatus.CHALLENGED,
    Phase.ANSWERED: TaskStatus.ANSWERED,
    Phase.SLASH_PENDING: TaskStatus.SLASH_PENDING,
}
