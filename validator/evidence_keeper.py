"""Evidence for the executor: a bundle put together from what is known of a task, sealed, and opened once it is settled.

Rule kept: before anything of a bundle is public, its rows are noted as public, so that no later dataset with the same
rows is marked in secret.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.metadata import version

from contracts import load_artifact
from validator.coverage.references import References
from validator.edges.contract import Touchstone
from validator.errors import Fatal, Transient
from validator.evidence.bundle import Versions, build_bundle
from validator.evidence.store import BundleLost, BundleStore
from validator.marks.planting import PlantedMarks
from validator.marks.secrets import Secrets
from validator.protocol.commitment import keccak
from validator.protocol.state import TaskState
from validator.protocol.verdict import Verdict
from validator.types import Hash32


class EvidenceKeeper:
    """The Evidence of one validator. `on_reveal` is told the task whose marks are about to be public."""

    def __init__(
        self,
        contract: Touchstone,
        secrets: Secrets,
        store: BundleStore,
        on_reveal: Callable[[TaskState], Awaitable[None]],
        references: References = References(),  # noqa: B008
    ) -> None:
        self._contract = contract
        self._secrets = secrets
        self._store = store
        self._on_reveal = on_reveal
        self._references = references

    async def write(self, state: TaskState, planted: PlantedMarks, verdict: Verdict) -> Hash32:
        onchain = await self._contract.task_state(state.task_id)
        bundle = build_bundle(
            state,
            planted,
            verdict,
            chain_id=self._contract.chain.chain_id,
            contract=self._contract.address,
            commitment_salt=self._secrets.commitment_salt(state.terms.validator, state.planned.validator_nonce),
            evidence_key=onchain.evidence_key,
            versions=_versions(planted.generator),
            reference=self._references.find(state.planned.spec),
        )
        return await asyncio.to_thread(self._store.write_pending, bundle.encode())

    async def publish(self, state: TaskState) -> None:
        if state.bundle_hash is None:
            raise Fatal("a settlement names no bundle")
        await self._on_reveal(state)
        try:
            await asyncio.to_thread(self._store.publish, state.bundle_hash)
        except BundleLost as error:
            # One task's evidence is gone; the others go on, and this effect grows old until somebody restores it.
            raise Transient(str(error)) from error


@cache
def _versions(generator: str) -> Versions:
    return Versions(
        touchstone=version("touchstone-validator"),
        scipy=version("scipy"),
        generator=generator,
        contract_code_hash=keccak(load_artifact().runtime_bytecode),
    )
