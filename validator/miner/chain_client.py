"""The miner's own view of the contract and its own transactions; it believes no validator about either.

Rule kept: a transaction that has been begun is waited for, even when the job that wanted it is stopped, so that
nothing is left half-done.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.address import is_address, to_checksum_address

from validator.edges.chain import Chain, Receipt, TransactionSender
from validator.edges.contract import Challenged, TaskOpened, TaskStatus, Touchstone
from validator.edges.keys import Signer
from validator.errors import AccountBusy, BadInput, Underfunded
from validator.files import write_whole
from validator.protocol.commitment import Terms
from validator.types import Address, BlockNumber, Hash32, TaskId, UnixSeconds, Wei

OVERLAP_BLOCKS = 12
"""Read again on each look: a short reorganisation may have put a task into a block that was read before."""
FINISH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class OpenedTask:
    """A task for this miner as the contract's own event announced it."""

    task_id: TaskId
    validator_nonce: int
    terms: Terms


@dataclass(frozen=True, slots=True)
class Standing:
    """What the contract says of this miner; `unstaking` is no stake any more, and credit from `unstake_ready_at` on."""

    epoch: int
    free_stake: Wei
    locked_stake: Wei
    unstaking: Wei
    unstake_ready_at: UnixSeconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` is the last second, on the chain's clock, that is not too late."""

    at: UnixSeconds
    chain: Chain

    async def has_passed(self) -> bool:
        """Whether whatever is sent now comes too late; Transient where the chain cannot be read."""
        return await self.seconds_left() < 0

    async def seconds_left(self) -> float:
        """Until it has passed, negative if it has; by the later of the two clocks, the chain's and ours."""
        return self.at - max((await self.chain.head()).timestamp_s, time.time())


class MinerChain:
    """One miner's account. Reads and writes may raise Transient, Fatal or Reverted."""

    def __init__(self, contract: Touchstone, sender: TransactionSender, first_block: BlockNumber) -> None:
        self._contract = contract
        self._sender = sender
        self._first_block = first_block
        self._next_block = first_block
        self._opened: dict[TaskId, OpenedTask] = {}
        self._challenged: dict[TaskId, tuple[Hash32, ...]] = {}
        self._reading = asyncio.Lock()
        self._begun: set[asyncio.Task[Receipt]] = set()

    @classmethod
    async def open(cls, chain: Chain, contract: str, signer: Signer, since: Path | None = None) -> "MinerChain":
        """BadInput unless Touchstone stands at `contract`.

        Tasks are known that were opened since this moment, or since the one at which the file `since` was written.
        """
        if not is_address(contract):
            raise BadInput(f"{contract!r} is not an address")
        touchstone = await Touchstone.at(chain, Address(to_checksum_address(contract)))
        first_block = (await chain.head()).number
        if since is not None:
            first_block = await asyncio.to_thread(_remember, since, first_block)
        return cls(touchstone, TransactionSender(chain, signer), first_block)

    @property
    def address(self) -> Address:
        return self._sender.address

    @property
    def domain(self) -> dict[str, Any]:
        return self._contract.domain

    async def register(self, evidence_key: Address, url: str, tls_key_hash: Hash32) -> None:
        """Register, unless the contract has just this already: registering again would end what runs (new epoch)."""
        registered = await self._contract.miner(self.address)
        wanted = (evidence_key, url, tls_key_hash)
        if registered.epoch == 0 or (registered.evidence_key, registered.url, registered.tls_key_hash) != wanted:
            try:
                await self._finish(self._contract.register(self._sender, *wanted))
            except AccountBusy as error:
                raise BadInput(
                    f"{self.address} is registered with another evidence key, URL or TLS key, under which tasks still "
                    "run: start with what was registered, and change it when they have ended"
                ) from error

    async def top_up_stake(self, stake: Wei) -> None:
        """Deposit and stake what is missing to `stake`."""
        missing = Wei(stake - (await self._contract.miner(self.address)).stake)
        if missing > 0:
            has = await self._contract.chain.balance_wei(self.address)
            if has <= missing:
                raise BadInput(
                    f"{self.address} has {has} wei, and {missing} are to be staked: send it ether, and for gas"
                )
            await self._finish(self._contract.deposit(self._sender, missing))
            await self._finish(self._contract.stake(self._sender, missing))

    async def standing(self) -> Standing:
        miner = await self._contract.miner(self.address)
        free_stake = Wei(miner.stake - miner.locked)
        return Standing(miner.epoch, free_stake, miner.locked, miner.unstaking, miner.unstake_ready_at)

    async def balance_wei(self) -> Wei:
        """What the account has for gas."""
        return await self._contract.chain.balance_wei(self.address)

    async def is_staked(self, validator: Address) -> bool:
        """Whether a validator has something to lose: credit in the contract, or a running task with this miner."""
        if await self._contract.credits_wei(validator) > 0:
            return True
        await self._read_new_tasks()
        return any(
            [
                not await self.is_closed(task.task_id)
                for task in self._opened.values()
                if task.terms.validator == validator
            ]
        )

    async def find_task(self, task_id: TaskId) -> OpenedTask | None:
        if task_id not in self._opened:
            await self._read_new_tasks()
        return self._opened.get(task_id)

    async def _read_new_tasks(self) -> None:
        async with self._reading:
            head = (await self._contract.chain.head()).number
            start = BlockNumber(max(self._first_block, self._next_block - OVERLAP_BLOCKS))
            for event in await self._contract.events(start, head):
                if isinstance(event, TaskOpened) and event.miner == self.address:
                    self._opened[event.task_id] = OpenedTask(event.task_id, event.validator_nonce, event.terms)
                elif isinstance(event, Challenged) and event.task_id in self._opened:
                    self._challenged[event.task_id] = event.leaves
            self._next_block = BlockNumber(head + 1)

    async def challenge(self, task_id: TaskId) -> tuple[Hash32, ...] | None:
        """The leaves that a validator wants the replies to, or None where we have seen no challenge yet."""
        await self._read_new_tasks()
        return self._challenged.get(task_id)

    async def status(self, task_id: TaskId) -> TaskStatus:
        return (await self._contract.task_state(task_id)).status

    async def deadline(self, task_id: TaskId) -> Deadline:
        """Of the state that the task is in."""
        return Deadline((await self._contract.task_state(task_id)).deadline, self._contract.chain)

    async def is_closed(self, task_id: TaskId) -> bool:
        return (await self.status(task_id)).is_terminal

    async def accept(self, task: OpenedTask, dataset_root: Hash32) -> None:
        await self._finish(self._contract.accept(self._sender, task.terms, task.validator_nonce, dataset_root))

    async def submit(self, task: OpenedTask, model_hash: Hash32) -> None:
        await self._finish(self._contract.submit(self._sender, task.terms, task.validator_nonce, model_hash))

    async def answer(self, task: OpenedTask, replies: Sequence[Hash32]) -> None:
        await self._finish(self._contract.answer(self._sender, task.terms, task.validator_nonce, replies))

    async def withdraw_all(self) -> None:
        """Draw every credit to the miner's own address."""
        amount = await self._contract.credits_wei(self.address)
        if amount > 0:
            # Tasks that close together are each collected: the first takes it all.
            with suppress(Underfunded):
                await self._finish(self._contract.withdraw(self._sender, amount))

    async def request_unstake(self, amount: Wei) -> None:
        await self._finish(self._contract.request_unstake(self._sender, amount))

    async def unstake(self) -> None:
        """Turn the stake whose delay is over into credit, and draw every credit to the miner's own address."""
        await self._finish(self._contract.unstake(self._sender))
        await self.withdraw_all()

    async def forget(self, since: Path) -> None:
        """Let the next start read the chain from here on (`open`), unless a task that is known may still go on."""
        now = (await self._contract.chain.head()).timestamp_s
        for task_id in list(self._opened):
            state = await self._contract.task_state(task_id)
            if not state.status.is_terminal and (state.status is not TaskStatus.OPEN or state.deadline >= now):
                return
        await asyncio.to_thread(write_whole, since, str(max(self._first_block, self._next_block - OVERLAP_BLOCKS)))

    async def finish_transactions(self) -> None:
        """Wait, within limits, for the transactions that are on their way."""
        if self._begun:
            await asyncio.wait(self._begun, timeout=FINISH_SECONDS)

    async def _finish(self, transaction: Coroutine[None, None, Receipt]) -> None:
        task = asyncio.create_task(transaction)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        await asyncio.shield(task)


def _remember(path: Path, block: BlockNumber) -> BlockNumber:
    """The block that stands in the file, where there is one from an earlier start."""
    if not path.exists():
        path.write_text(str(block))
    return BlockNumber(int(path.read_text()))
