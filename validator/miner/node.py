"""One miner put together: records, server, standing on chain. The product and the simulation both use it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from validator.door import Door, serving
from validator.edges.keys import Signer
from validator.miner.answers import AnswerBook
from validator.miner.backend import Backend
from validator.miner.chain_client import MinerChain
from validator.miner.files import FileStore
from validator.miner.gate import Gate
from validator.miner.jobs import JobBook
from validator.miner.respondent import Respondent
from validator.miner.server import MinerServer
from validator.miner.tls import NO_TLS_KEY, TlsIdentity
from validator.miner.transcript import Notary
from validator.types import Hash32, Wei

FIRST_BLOCK_FILE = "first_block"
"""In the miner's directory: from where the chain is read for tasks."""


@asynccontextmanager
async def running_miner(
    *,
    home: Path,
    chain: MinerChain,
    evidence_key: Signer,
    backend: Backend,
    base_model: str,
    door: Door,
    identity: TlsIdentity | None,
    url: str,
    stake_wei: Wei,
    tls_key_hash: Hash32 | None = None,
) -> AsyncIterator[JobBook]:
    """A miner that serves at this door, registered under `url`, staked, and back at its jobs.

    `base_model` is what it is called on the wire. `tls_key_hash` is registered where somebody else ends TLS.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(chain.finish_transactions)
        stack.callback(door.close)
        files = FileStore(home / "files")
        answers = AnswerBook(home / "answers.jsonl")
        respondent = Respondent(answers, backend)
        jobs = JobBook(directory=home / "jobs", chain=chain, files=files, backend=backend, respondent=respondent)
        stack.push_async_callback(jobs.close)
        server = MinerServer(
            gate=Gate(chain, home / "sessions.jsonl"),
            files=files,
            jobs=jobs,
            respondent=respondent,
            notary=Notary(evidence_key, chain, answers, home / "transcripts.jsonl"),
            backend=backend,
            base_model=base_model,
        )
        await stack.enter_async_context(serving(server.app(), door, identity.context if identity else None))
        key_hash = tls_key_hash or (identity.key_hash if identity else NO_TLS_KEY)
        await chain.register(evidence_key.address, url, key_hash)
        await chain.top_up_stake(stake_wei)
        jobs.resume(base_model)
        yield jobs
