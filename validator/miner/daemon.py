"""`touchstone miner run`: a miner with everything around it, from the settings to the last signal.

Rules kept: what can be found wrong is found before anything is staked; the parts end together, in reverse order of
their beginning; a state directory, and with it what was answered and signed, belongs to one process.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from validator.door import open_door
from validator.edges.chain import Chain, configured_chain
from validator.edges.key_files import read_api_key
from validator.edges.model_server import ModelServer
from validator.errors import ChainUnreachable, Transient
from validator.files import locked
from validator.health.loop_lag import LoopLag
from validator.health.progress import Progress
from validator.health.service import allow_all_descriptors, forbid_core_dumps, run_parts
from validator.miner.chain_client import MinerChain
from validator.miner.hook_backend import HookBackend
from validator.miner.jobs import JobBook
from validator.miner.node import FIRST_BLOCK_FILE, running_miner
from validator.miner.serving import Serving
from validator.miner.settings import MinerDaemonSettings
from validator.miner.telemetry import BALANCE_WEI, FREE_BYTES, JOBS, LOCKED_WEI, REGISTRY, STAKE_WEI
from validator.miner.tls import TlsIdentity
from validator.operator.wallet import open_signer
from validator.types import Hash32, Wei
from validator.web.server import make_app, serving_web

LOOK_S = 5.0
MEASURE_S = 15.0
FORGET_S = 3600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class MinerDaemon:
    """A miner that is registered, staked and serving. `run` it once."""

    settings: MinerDaemonSettings
    chain: Chain
    account: MinerChain
    jobs: JobBook
    progress: Progress

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; whatever is fatal to one part ends all, and is raised."""
        directory, web = self.settings.state.directory, make_app(self.progress, None, REGISTRY)
        async with serving_web(web, *self.settings.http.address) as (host, port):
            parts = {
                "loop lag": LoopLag(self.progress).run(),
                "chain": self._look_at_chain(),
                "measurements": self._measure(directory),
                "deletions": self._forget(directory / FIRST_BLOCK_FILE),
            }
            await run_parts(parts, self.progress, directory, miner=self.account.address, web=f"{host}:{port}")

    async def _look_at_chain(self) -> None:
        newest = -1
        while True:
            try:
                number = (await self.chain.head()).number
                self.progress.head_polled(is_new=number > newest)
                newest = max(newest, number)
            except Transient:
                self.progress.head_polled(is_new=False)
            await asyncio.sleep(LOOK_S)

    async def _measure(self, directory: Path) -> None:
        seen: set[str] = set()
        while True:
            states = Counter(job.status if job.outcome is None else job.outcome.name.lower() for job in self.jobs.all())
            seen |= states.keys()
            for state in seen:
                JOBS.labels(state).set(states[state])
            FREE_BYTES.set(shutil.disk_usage(directory).free)
            try:
                standing = await self.account.standing()
                STAKE_WEI.set(standing.free_stake + standing.locked_stake)
                LOCKED_WEI.set(standing.locked_stake)
                BALANCE_WEI.set(await self.account.balance_wei())
            except Transient:
                pass  # The old figures stand, and the nodes' own metrics say why.
            await asyncio.sleep(MEASURE_S)

    async def _forget(self, first_block: Path) -> None:
        while True:
            await asyncio.sleep(FORGET_S)
            if any(job.is_closed and not job.is_deleted for job in self.jobs.all()):
                continue  # It would be looked for at the next start.
            try:
                await self.account.forget(first_block)
            except Transient as error:
                log.info("the chain cannot be read; will look again", reason=str(error))


async def run_miner(settings: MinerDaemonSettings) -> None:
    """Open everything and run until a signal comes; BadInput for what its operator must mend first.

    Transient where the chain is away: whoever started this process starts it again, for bonds may be at stake.
    """
    forbid_core_dumps()
    allow_all_descriptors()
    try:
        async with open_miner(settings) as daemon:
            await daemon.run()
    except ChainUnreachable as error:
        raise Transient(str(error)) from error


@asynccontextmanager
async def open_miner(settings: MinerDaemonSettings) -> AsyncIterator[MinerDaemon]:
    """All parts, opened in the order in which something can be wrong with them."""
    profile, directory, server = settings.profile, settings.state.directory, settings.server
    if profile.notice:
        log.warning(profile.notice)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(directory / "lock", f"another miner runs with the state in {directory}"))
        evidence_key = await stack.enter_async_context(open_signer(settings.evidence))
        chain, account = await stack.enter_async_context(open_account(settings, directory / FIRST_BLOCK_FILE))
        models = await stack.enter_async_context(open_model_server(settings))
        serving = Serving(settings.serving, models, settings.training.variables)
        stack.push_async_callback(serving.aclose)
        await serving.look()
        jobs = await stack.enter_async_context(
            running_miner(
                home=directory,
                chain=account,
                evidence_key=evidence_key,
                backend=HookBackend(settings, serving),
                base_model=settings.accept.base_model,
                door=open_door(*server.address, "server.listen"),
                identity=TlsIdentity(directory / "tls.pem") if server.tls == "own" else None,
                url=server.url,
                stake_wei=Wei(settings.stake.wei),
                tls_key_hash=Hash32(bytes.fromhex(server.tls_key_hash[-64:])) if server.tls_key_hash else None,
            )
        )
        yield MinerDaemon(settings, chain, account, jobs, Progress())


@asynccontextmanager
async def open_account(
    settings: MinerDaemonSettings, since: Path | None = None
) -> AsyncIterator[tuple[Chain, MinerChain]]:
    """The miner's account, with its key in use; `since` as of `MinerChain.open`.

    BadInput for a key that does not open, and if the nodes are on another chain than the settings say.
    """
    network = settings.network
    async with open_signer(settings.keys) as signer, configured_chain(network.rpc_urls, network.chain_id) as chain:
        yield chain, await MinerChain.open(chain, network.contract, signer, since)


def open_model_server(settings: MinerDaemonSettings) -> ModelServer:
    chosen = settings.serving
    return ModelServer(
        chosen.url.get_secret_value(),
        read_api_key(chosen.api_key_file) if chosen.api_key_file else None,
        api=chosen.api,
        template=chosen.prompt_template,
        timeout_s=chosen.timeout_seconds,
    )
