"""The world of a simulation: a chain, funded roles, the contract, and the miners' process.

Rule kept: one client drives every kind of chain, and whatever was started here ends with the context, in reverse order.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from validator.config import DEV
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, Touchstone
from validator.edges.devnet import anvil_node, open_chain
from validator.edges.key_files import load_key_file
from validator.edges.keys import Signer, derive_secret, derive_signer, dev_mnemonic_signer
from validator.errors import BadInput, Fatal
from validator.simulation.bad_line import bad_line
from validator.simulation.options import MinerPlan, SimulationOptions
from validator.types import Address, BlockNumber, Wei

GAS_FLOAT_WEI = Wei(10**17)
"""What every role gets for gas."""
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Role:
    """One actor with its key and its way to send transactions."""

    signer: Signer
    sender: TransactionSender

    @property
    def address(self) -> Address:
        return self.signer.address


@dataclass(frozen=True)
class World:
    """A funded network, before any task. `master_seed` is the simulated validator's."""

    chain: Chain
    url: str
    contract: Touchstone
    payer: Role
    validator: Role
    miners: dict[str, Role]
    evidence_keys: dict[str, Signer]
    master_seed: bytes = field(repr=False)
    first_block: BlockNumber

    async def wealth_wei(self, role: Role) -> Wei:
        """All that the role owns: its account, its credits and its stake, locked or not."""
        onchain = await self.contract.miner(role.address)
        account, credit = await asyncio.gather(
            self.chain.balance_wei(role.address), self.contract.credits_wei(role.address)
        )
        return Wei(account + credit + onchain.stake)


@asynccontextmanager
async def open_world(
    options: SimulationOptions, *, deposits_wei: tuple[Wei, Wei], stake_wei: Wei
) -> AsyncIterator[World]:
    """Start or join the chain, fund every role, deploy the contract; `deposits_wei` are the payer's and validator's."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(_open_chain(options))
        chain = await Chain.connect(url)
        stack.push_async_callback(chain.aclose)
        if not chain.is_dev_chain:
            raise BadInput(f"chain id {chain.chain_id} is not a development chain; simulate runs on those only")
        master_seed = options.seed.to_bytes(32, "big", signed=True)

        def role(name: str) -> Role:
            signer = derive_signer(master_seed, name)
            return Role(signer, TransactionSender(chain, signer))

        funder_key = load_key_file(options.funder_key_file) if options.funder_key_file else dev_mnemonic_signer(0)
        funder = TransactionSender(chain, funder_key)
        deployer, payer, validator = role("deployer"), role("payer"), role("validator")
        miners = {plan.name: role(f"miner/{plan.name}") for plan in options.miners}
        gas_of_all_tasks_wei = GAS_FLOAT_WEI * len(options.miners)
        wants_wei = {deployer: 0, payer: deposits_wei[0], validator: deposits_wei[1] + gas_of_all_tasks_wei}
        wants_wei |= dict.fromkeys(miners.values(), stake_wei)
        for recipient, amount_wei in wants_wei.items():
            await _fund(chain, funder, recipient.address, Wei(amount_wei + GAS_FLOAT_WEI))
        first_block = (await chain.head()).number
        network = Network.of_profile(DEV, deployer.address)
        contract = await Touchstone.deploy(deployer.sender, network)
        for depositor, amount_wei in ((payer, deposits_wei[0]), (validator, deposits_wei[1])):
            await contract.deposit(depositor.sender, amount_wei)
        yield World(
            chain=chain,
            url=url,
            contract=contract,
            payer=payer,
            validator=validator,
            miners=miners,
            evidence_keys={plan.name: derive_signer(master_seed, f"evidence/{plan.name}") for plan in options.miners},
            master_seed=master_seed,
            first_block=first_block,
        )


def _open_chain(options: SimulationOptions) -> AbstractAsyncContextManager[str]:
    if options.block_time_s is not None:
        return anvil_node("--block-time", str(options.block_time_s))
    return open_chain(options.chain)


@asynccontextmanager
async def validators_contract(options: SimulationOptions, world: World) -> AsyncIterator[Touchstone]:
    """The contract as the validator reaches it: by the bad line, if the scenario has one."""
    if not options.node_delay_s and not options.node_loss:
        yield world.contract
        return
    line = bad_line(world.url, delay_s=options.node_delay_s, loss=options.node_loss, seed=options.seed)
    async with line as url:
        chain = await Chain.connect(url)
        try:
            yield await Touchstone.at(chain, world.contract.address)
        finally:
            await chain.aclose()


async def _fund(chain: Chain, funder: TransactionSender, address: Address, amount_wei: Wei) -> None:
    missing_wei = amount_wei - await chain.balance_wei(address)
    if missing_wei <= 0:
        return
    if await chain.balance_wei(funder.address) < missing_wei:
        raise BadInput(
            f"the funding account {funder.address} has too little ether on chain {chain.chain_id}; "
            "name another with --funder-key-file"
        )
    await funder.send(address, value_wei=Wei(missing_wei))


@dataclass(slots=True)
class MinersProcess:
    """The process that serves all miners; where each one is, it has registered on chain."""

    process: asyncio.subprocess.Process
    is_working: bool = False
    """Whether a miner trains, answers, does other work of a child, or has a transaction on its way."""

    async def listen(self, lines: asyncio.StreamReader) -> None:
        """Keep `is_working` true to what the process says, to its end."""
        while line := await lines.readline():
            self.is_working = json.loads(line)["working"]

    async def fail_when_gone(self) -> None:
        """Wait until the process ends, which it must not: Fatal."""
        raise Fatal(f"the simulated miners' process ended with status {await self.process.wait()}")


@asynccontextmanager
async def miners_process(options: SimulationOptions, world: World, stake_wei: Wei) -> AsyncIterator[MinersProcess]:
    """All simulated miners in one process of their own, from when all of them serve."""
    config = {
        "rpc_url": world.url,
        "contract": world.contract.address,
        "home": str(options.directory / "miners"),
        "base_model": options.model,
        "base_model_name": options.spec.base_model,
        "training_workers": options.training_workers,
        "strategies": [str(path) for path in options.strategies],
        "tells_work": True,
        "miners": [
            _miner_config(plan, number, options, world, stake_wei) for number, plan in enumerate(options.miners)
        ],
    }
    with (options.directory / "miners.log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "miner_sim",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    listening: asyncio.Task[None] | None = None
    try:
        if process.stdin is None or process.stdout is None:
            raise Fatal("the miners' process has no pipes")
        process.stdin.write(json.dumps(config).encode() + b"\n")
        line = await process.stdout.readline()
        if not line:
            message = (options.directory / "miners.log").read_text(errors="replace").strip().splitlines()
            reason = message[-1].removeprefix("error: ") if message else "no message"
            is_input = await process.wait() == 2
            raise (BadInput if is_input else Fatal)(f"the simulated miners cannot start: {reason}")
        miners = MinersProcess(process)
        listening = asyncio.create_task(miners.listen(process.stdout))
        yield miners
    finally:
        if listening is not None:
            listening.cancel()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


def _miner_config(
    plan: MinerPlan, number: int, options: SimulationOptions, world: World, stake_wei: Wei
) -> dict[str, object]:
    return {
        "name": plan.name,
        "strategy": plan.strategy,
        "port": options.first_port + number if options.first_port else 0,
        "private_key": _private_key(world, f"miner/{plan.name}"),
        "evidence_key": _private_key(world, f"evidence/{plan.name}"),
        "seed": _training_seed(options.seed, plan.name),
        "stake_wei": stake_wei,
    }


def _training_seed(seed: int, name: str) -> int:
    """A miner trains alike whoever else is in the round."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")


def _private_key(world: World, role: str) -> str:
    return "0x" + derive_secret(world.master_seed, role).reveal().hex()
