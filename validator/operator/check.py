"""Everything that can be found wrong before money is at stake: `touchstone validator check`, and the daemon's start.

Rule kept: every check is made, whatever came of the others; nothing is sent, created or changed (a journal of an older
version is migrated, as it would be at the start). Clocks are compared by what a node says over HTTP (`node_clock.py`),
and only where none says anything by the newest block.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from validator.amounts import describe_ether
from validator.config import Durations
from validator.edges.chain import Chain
from validator.edges.contract import Touchstone
from validator.edges.keys import Signer
from validator.edges.node_clock import clock_offset_s
from validator.errors import BadInput, TouchstoneError, Transient
from validator.history import LOST_FLAG
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.model_work import Children, ModelWork, RayCluster
from validator.operator.costs import TaskCost, estimate_task, surplus_wei
from validator.operator.directory import check_directory
from validator.operator.wallet import load_master_seed, open_signer
from validator.protocol import typed_data
from validator.settings import SecretUrl, Settings
from validator.terminal import make_console
from validator.types import UnixSeconds

MAX_CLOCK_OFFSET_S = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found. One that is not `ok` keeps a daemon from starting if it `is_fatal`."""

    name: str
    ok: bool
    detail: str
    remedy: str
    is_fatal: bool


def print_findings(findings: Sequence[Finding]) -> None:
    """A line for each; a finding that is not fatal is a warning."""
    console, width = make_console(), max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "ok" if finding.ok else "WRONG" if finding.is_fatal else "warning"
        way_out = f": {finding.remedy}" if finding.remedy else ""
        console.print(f"{mark:<7}  {finding.name:<{width}}  {finding.detail}{way_out}")


async def run_checks(settings: Settings, *, open_tasks: int = 0, without: Container[str] = ()) -> list[Finding]:
    """Every check, in the order of what depends on what.

    `open_tasks` have their bonds already, and must be finished whatever is found (O3): with any, too little money or
    space is not fatal, and neither is what may pass, such as a node that is down. `without` names checks to leave out:
    what the caller has looked at itself, such as an open journal.
    """
    async with AsyncExitStack() as stack:
        checks = _Checks(settings, stack, open_tasks, without)
        for number, url in enumerate(settings.network.rpc_urls, 1):
            await checks.make(f"node {number}", partial(checks.node, url), "start it, or correct network.rpc_urls")
        is_idle = open_tasks == 0
        await checks.make("agreement", checks.agreement, "find out which node is wrong, and name another")
        await checks.make("contract", checks.find_contract, "correct network.contract, or use this contract's version")
        await checks.make("sunset", checks.sunset, "finish what is open, and move to a newer contract", is_fatal=False)
        await checks.make("floors", checks.floors, "choose the profile that the contract was deployed for")
        await checks.make("key", checks.key, "correct [keys]")
        await checks.make("master seed", checks.seed, "restore it from a backup: without it open tasks are lost")
        await checks.make("bond", checks.bond, "deposit more, or lower tasks.in_flight", is_fatal=is_idle)
        await checks.make("gas", checks.gas, "send ether to the key, or lower tasks.in_flight", is_fatal=is_idle)
        await checks.make("state", checks.directory, "correct state.directory", is_fatal=is_idle)
        await checks.make("journal", checks.journal, f"restore the newest state, or say {LOST_FLAG} to `run`")
        await checks.make("clock", checks.clock, "set this machine's clock (NTP), or name nodes that are right")
        if is_idle:  # They are marked already, and a restart must not keep them waiting.
            await checks.make("generator", checks.generator, "correct [generator] or [model_work]")
        await checks.make("cost", checks.cost, "raise tasks.min_reward_wei", is_fatal=False)
        return checks.findings


class _NotChecked(TouchstoneError):
    """What it is about was not found."""


class _Checks:
    """The checks, and what earlier ones have found for later ones. Each returns what it found, or raises."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, open_tasks: int, without: Container[str]) -> None:
        self.findings: list[Finding] = []
        self._settings = settings
        self._stack = stack
        self._without = without
        self._is_idle = open_tasks == 0
        self._places = max(0, settings.tasks.in_flight - open_tasks)
        self._nodes: list[Chain] = []
        self._chain: Chain | None = None
        self._contract: Touchstone | None = None
        self._signer: Signer | None = None
        self._seed: bytes | None = None

    async def make(self, name: str, check: Callable[[], Awaitable[str]], remedy: str, *, is_fatal: bool = True) -> None:
        if name in self._without:
            return
        try:
            finding = Finding(name, True, await check(), "", is_fatal)
        except _NotChecked as error:
            finding = Finding(name, False, f"not checked: {error}", "", is_fatal=False)
        except Transient as error:
            finding = Finding(name, False, " ".join(str(error).split()), remedy, is_fatal and self._is_idle)
        except TouchstoneError as error:
            finding = Finding(name, False, " ".join(str(error).split()), remedy, is_fatal)
        self.findings.append(finding)

    async def node(self, url: SecretUrl) -> str:
        """O1, R3."""
        chain = await Chain.connect(url.get_secret_value())
        self._stack.push_async_callback(chain.aclose)
        wanted = self._settings.network.chain_id
        if chain.chain_id != wanted:
            raise BadInput(f"{url} is on chain {chain.chain_id}, and network.chain_id is {wanted}")
        head = await chain.head()
        await chain.finalized(self._settings.profile.finality_depth)
        self._nodes.append(chain)
        return f"{url} is on chain {wanted} at block {head.number}"

    async def agreement(self) -> str:
        """R3: of the newest block that is final for all of them."""
        urls = [url.get_secret_value() for url in self._settings.network.rpc_urls]
        if not self._nodes:
            raise _NotChecked("no node can be used")
        depth = self._settings.profile.finality_depth
        height = min([(await node.finalized(depth)).number for node in self._nodes])
        if len({(await node.block(height)).hash for node in self._nodes}) > 1:
            raise BadInput(f"the nodes have different blocks {height}")
        self._chain = await Chain.connect(urls)
        self._stack.push_async_callback(self._chain.aclose)
        if len(self._nodes) < len(urls):
            raise Transient(f"only {len(self._nodes)} of {len(urls)} nodes can be used")
        return f"{len(urls)} nodes have the same block {height}" if len(urls) > 1 else "there is one node to believe"

    async def find_contract(self) -> str:
        """O1, O5."""
        network = self._settings.network
        self._contract = await Touchstone.at(self._known_chain, network.contract)
        if (await self._known_chain.head()).number < network.first_block:
            self._contract = None
            raise BadInput(f"network.first_block is {network.first_block}, which the chain has not reached")
        return f"this version of Touchstone is at {network.contract}"

    async def sunset(self) -> str:
        if await self._known_contract.is_sunset():
            raise BadInput("the contract's guardian has stopped new tasks for ever")
        return "tasks can be opened"

    async def floors(self) -> str:
        floors, durations = await self._known_contract.network(), self._settings.profile.durations
        for name in Durations.__slots__:
            least, ours = getattr(floors, f"min_{name}"), getattr(durations, name)
            if ours < least:
                raise BadInput(f"the contract wants {name} of {least}, and the profile's are {ours}")
        return f"the durations of the profile {self._settings.network.profile} are long enough for the contract"

    async def key(self) -> str:
        """Opens it, and signs a session that nobody takes, which is what shows that a remote signer is there (H7)."""
        network, cold_address = self._settings.network, self._settings.keys.cold_address
        signer = await self._stack.enter_async_context(open_signer(self._settings.keys))
        domain = typed_data.domain(network.chain_id, network.contract)
        await signer.sign_typed_data(domain, typed_data.session(signer.address, signer.address, 0, UnixSeconds(0)))
        self._signer = signer
        if cold_address == signer.address:
            raise BadInput("keys.cold_address is the address of the key itself")
        return f"{signer.address}" + (f", surplus to {cold_address}" if cold_address else "")

    async def seed(self) -> str:
        self._seed = (await load_master_seed(self._settings.keys)).reveal()
        return "can be read, by its owner alone"

    async def bond(self) -> str:
        """O3."""
        cost = await self._cost()
        credit_wei = await self._known_contract.credits_wei(self._known_signer.address)
        needed_wei = self._places * cost.bond_wei
        words = (
            f"credit of {describe_ether(credit_wei)}; {self._places} tasks at the least reward lock "
            f"{describe_ether(needed_wei)}"
        )
        if credit_wei < needed_wei:
            raise BadInput(words)
        more_wei, cold_address = surplus_wei(credit_wei, cost.bond_wei, self._places), self._settings.keys.cold_address
        return words if not cold_address else f"{words}; `sweep` would move {describe_ether(more_wei)}"

    async def gas(self) -> str:
        """O3."""
        cost = await self._cost()
        balance_wei = await self._known_chain.balance_wei(self._known_signer.address)
        needed_wei = self._places * cost.worst_wei
        words = (
            f"balance of {describe_ether(balance_wei)}; {self._places} tasks take up to {describe_ether(needed_wei)}"
        )
        if balance_wei < needed_wei:
            raise BadInput(words)
        return words

    async def directory(self) -> str:
        """K5."""
        is_dev = self._settings.network.profile == "dev"
        return await asyncio.to_thread(check_directory, self._settings.state.directory, is_passing_allowed=is_dev)

    async def journal(self) -> str:
        """P8, P9: whoever has opened tasks has a history, and must not begin without it."""
        if self._seed is None:
            raise _NotChecked("there is no master seed to open it with")
        network, place = self._settings.network, self._settings.state.journal_place
        opened = await self._known_contract.validator_nonce(self._known_signer.address)
        is_new, words = True, f"{place} is to be created"
        if not isinstance(place, Path) or place.exists():
            identity = Identity(network.chain_id, network.contract, self._known_signer.address)
            is_new = await asyncio.to_thread(is_journal_new, place, derive_journal_key(self._seed), identity)
            words = f"{place} is whole" if isinstance(place, Path) else "the database is whole"
        if is_new and opened:
            raise BadInput(f"the key has opened {opened} tasks on this contract, and the journal knows of none")
        return words

    async def clock(self) -> str:
        """O4."""
        offsets: list[str] = []
        for url in self._settings.network.rpc_urls:
            try:
                offset_s = await clock_offset_s(url.get_secret_value())
            except Transient:
                continue
            if offset_s is not None:
                offsets.append(f"{offset_s:+.0f} s to {url}")
                if abs(offset_s) > MAX_CLOCK_OFFSET_S:
                    raise BadInput(f"this machine's clock and that of {url} are {abs(offset_s):.0f} s apart")
        if offsets:
            return ", ".join(offsets)
        if self._known_chain.is_dev_chain:
            return "no node says what time it is"
        behind_s = time.time() - (await self._known_chain.head()).timestamp_s
        if abs(behind_s) > MAX_CLOCK_OFFSET_S:
            raise BadInput(f"this machine's clock and the newest block are {abs(behind_s):.0f} s apart")
        return f"the newest block is {behind_s:.0f} s old"

    async def generator(self) -> str:
        work, settings = self._settings.model_work, self._settings.generator
        if settings.path is None:
            return f"none here; openings come from {settings.openings_url}"
        where: ModelWork = Children(1) if work.ray_address is None else RayCluster(work.ray_address, 1)
        return f"{settings.model} loads: {await where.run(_load_generator, settings.path)}"

    async def cost(self) -> str:
        cost = await self._cost()
        words = (
            f"a task at the least reward brings {describe_ether(cost.fee_wei)}, costs {describe_ether(cost.paid_wei)} "
            f"in gas ({cost.paid_gas} gas) if it is paid, and locks {describe_ether(cost.bond_wei)}"
        )
        if cost.fee_wei < cost.paid_wei and self._settings.network.profile != "dev":
            raise BadInput(words)
        return words

    async def _cost(self) -> TaskCost:
        tasks = self._settings.tasks
        return estimate_task(tasks.min_reward_wei, tasks.probes, await self._known_chain.fees())

    @property
    def _known_chain(self) -> Chain:
        if self._chain is None:
            raise _NotChecked("no node can be used")
        return self._chain

    @property
    def _known_contract(self) -> Touchstone:
        if self._contract is None:
            raise _NotChecked("there is no contract to ask")
        return self._contract

    @property
    def _known_signer(self) -> Signer:
        if self._signer is None:
            raise _NotChecked("there is no key")
        return self._signer


def is_journal_new(place: Path | str, key: bytes, identity: Identity) -> bool:
    """Whether nothing is in it; BadInput as `Journal`."""
    journal = Journal(place, key, identity)
    try:
        return journal.is_new
    finally:
        journal.close()


def _load_generator(model: str) -> str:
    """In a child: the model's libraries are large."""
    from validator.edges.generator import LocalScorer

    scorer = LocalScorer(model)
    scorer.score("a prompt", "", ["a", "word"])
    return scorer.identity
