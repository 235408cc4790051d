"""The composition root: builds every simulated miner, opens their doors, and takes everything down again.

Rule kept: whatever was started here (ports, jobs, transactions, child processes, connections) is ended here, in
reverse order.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from miner_sim import child_calls
from miner_sim.backend import StrategyBackend
from miner_sim.config import FleetConfig, MinerConfig
from miner_sim.shared import Neighbourhood
from miner_sim.strategies import Crash, load_strategies, parse_strategy
from miner_sim.workers import Workers
from validator.door import open_door
from validator.edges.chain import Chain
from validator.edges.keys import LocalSigner, SecretBytes
from validator.errors import BadInput
from validator.miner.chain_client import MinerChain
from validator.miner.node import FIRST_BLOCK_FILE, running_miner
from validator.miner.tls import TlsIdentity
from validator.types import Address, Wei

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RunningMiner:
    name: str
    address: Address
    url: str


class Fleet:
    """The simulated miners of one process; they share a chain connection and the child processes."""

    def __init__(
        self, config: FleetConfig, chain: Chain, stack: AsyncExitStack, on_work: Callable[[bool], None]
    ) -> None:
        self._config = config
        self._chain = chain
        self._stack = stack
        self._workers = Workers(config.training_workers, on_work)
        self._neighbourhood = Neighbourhood(config.home)
        self._running: dict[str, AsyncExitStack] = {}
        self._crashes: set[asyncio.Task[None]] = set()
        stack.push_async_callback(asyncio.to_thread, self._workers.close)
        stack.push_async_callback(self._close)

    def warm_up(self) -> None:
        """Let the inference child import its libraries while the miners wait for their first task."""
        self._stack.callback(asyncio.create_task(self._workers.inference.run(child_calls.warm_up)).cancel)

    async def start(self, miner: MinerConfig) -> RunningMiner:
        """Open one miner's port, then register and stake it under that URL."""
        stack = self._running[miner.name] = AsyncExitStack()
        home = self._config.home / miner.name
        home.mkdir(parents=True, exist_ok=True)
        chain = await MinerChain.open(
            self._chain, self._config.contract, _signer(miner.private_key), home / FIRST_BLOCK_FILE
        )
        door = open_door(HOST, miner.port, f"miner {miner.name}")
        here = miner.model_copy(update={"port": door.getsockname()[1]})
        identity = TlsIdentity(home / "tls.pem") if miner.tls else None
        url = f"{'https' if identity else 'http'}://{HOST}:{here.port}"
        backend = StrategyBackend(
            strategy=parse_strategy(miner.strategy),
            seed=miner.seed,
            base_model=self._config.base_model,
            workers=self._workers,
            neighbourhood=self._neighbourhood,
            on_crash=lambda crash: self._begin_crash(here, crash),
        )
        await stack.enter_async_context(
            running_miner(
                home=home,
                chain=chain,
                evidence_key=_signer(miner.evidence_key),
                backend=backend,
                base_model=self._config.served_base_model,
                door=door,
                identity=identity,
                url=url,
                stake_wei=Wei(miner.stake_wei),
            )
        )
        return RunningMiner(miner.name, chain.address, url)

    def _begin_crash(self, miner: MinerConfig, crash: Crash) -> None:
        task = asyncio.create_task(self._crash(miner, crash))
        self._crashes.add(task)
        task.add_done_callback(self._crashes.discard)

    async def _crash(self, miner: MinerConfig, crash: Crash) -> None:
        """End a miner in the middle of whatever it does, and let another begin with what is on its disk."""
        await self._running.pop(miner.name).aclose()
        if crash.back_after_s is not None:
            await asyncio.sleep(crash.back_after_s)
            await self.start(miner)

    async def _close(self) -> None:
        for task in self._crashes:
            task.cancel()
        await asyncio.gather(*self._crashes, return_exceptions=True)
        for stack in reversed(self._running.values()):
            await stack.aclose()


@asynccontextmanager
async def running_fleet(
    config: FleetConfig, on_work: Callable[[bool], None] = lambda _is_working: None
) -> AsyncIterator[list[RunningMiner]]:
    """All miners, registered, staked and serving. BadInput for a port in use, an unknown strategy, a bad contract.

    `on_work` is told when work begins in a child or on chain (True), and when none is left (False).
    """
    for path in config.strategies:
        load_strategies(path)
    strategies = [parse_strategy(miner.strategy) for miner in config.miners]
    async with AsyncExitStack() as stack:
        chain = await Chain.connect(config.rpc_url)
        stack.push_async_callback(chain.aclose)
        fleet = Fleet(config, chain, stack, on_work)
        running = [await fleet.start(miner) for miner in config.miners]
        if any(strategy.has_model for strategy in strategies):
            fleet.warm_up()
        yield running


def _signer(private_key: str) -> LocalSigner:
    try:
        return LocalSigner(SecretBytes(bytes.fromhex(private_key[2:])))
    except ValueError as error:
        raise BadInput(f"configuration: {error}") from None
