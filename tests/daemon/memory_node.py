"""A node in this process: real transactions and the real EVM (revm), on a chain that can be rewound.

Blocks come when `mine` is called. The state is a function of the blocks: after a reorganisation, and for a look at an
old block, it is computed again. `memory_rpc.py` is the way to it.
Pool, blocks and state are one module, since each is what the other two make of it.

Not like a chain: storage slots stay warm from transaction to transaction, so gas is a little less; the priority fee is
burned.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyrevm
import rlp
from eth_account import Account
from eth_utils.address import to_checksum_address

from tests.contracts.evm import revert_reason
from tests.daemon.memory_blocks import MinedBlock, Outcome, RawLog, Transaction
from tests.daemon.virtual_time import Clock
from validator.errors import Fatal
from validator.journal.codec import SignedTransaction, read_transaction
from validator.protocol.commitment import keccak
from validator.types import Address, Hash32

GENESIS_S = 4_000_000_000
"""Ahead of any wall clock, which the `dev` profile would otherwise take for chain time."""
BLOCK_GAS_LIMIT = 30_000_000
GWEI = 10**9
PADDING_BYTES = 33
"""revm puts so many zeros behind code, so that a PUSH32 at its end reads something."""
MIN_BUMP_PERCENT = 110
"""Of both fees, for a transaction that is to replace another one in the pool (geth)."""

SERVER_ERROR, INVALID_PARAMS, REVERTED = -32000, -32602, 3

_REVERT = re.compile(r"^Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}$")


class RpcError(Exception):
    """What a node answers instead of a result."""

    def __init__(self, message: str, code: int = SERVER_ERROR, data: str | None = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message} | ({} if data is None else {"data": data})


@dataclass
class _State:
    """Accounts and contracts after some block."""

    evm: Any
    nonces: dict[Address, int] = field(default_factory=lambda: defaultdict(int))
    charges_wei: dict[Address, int] = field(default_factory=lambda: defaultdict(int))

    def balance_wei(self, address: Address) -> int:
        return int(self.evm.get_balance(address))

    def code(self, address: Address) -> bytes:
        return bytes(self.evm.get_code(address) or b"")[:-PADDING_BYTES]

    def charge(self, address: Address, amount_wei: int) -> None:
        self.evm.set_balance(address, self.balance_wei(address) - amount_wei)
        self.charges_wei[address] += amount_wei

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        checkpoint, nonces = self.evm.snapshot(), self.nonces.copy()
        self.charges_wei.clear()
        try:
            yield
        finally:
            self.evm.revert(checkpoint)
            self.nonces = nonces
            for address, amount_wei in self.charges_wei.items():  # What was set, revm does not take back.
                self.evm.set_balance(address, self.balance_wei(address) + amount_wei)


class MemoryNode:
    """One chain. `balances_wei` are there at its beginning; `finality_depth` is what its `finalized` tag means."""

    def __init__(
        self, clock: Clock, balances_wei: Mapping[Address, int], *, chain_id: int = 31337, finality_depth: int = 64
    ) -> None:
        self.clock = clock
        self.chain_id = chain_id
        self.finality_depth = finality_depth
        self.base_fee_wei = GWEI
        self.pool: dict[Hash32, Transaction] = {}
        self.blocks = [MinedBlock(0, keccak(b"genesis"), GENESIS_S, self.base_fee_wei)]
        self.on_send: Callable[[Transaction], None] = lambda _transaction: None
        """Told of everything that is sent, before it is looked at."""
        self._balances_wei = dict(balances_wei)
        self._branch = 0
        self._state = self._new_state()

    @property
    def head(self) -> MinedBlock:
        return self.blocks[-1]

    @property
    def final(self) -> MinedBlock:
        return self.blocks[max(0, self.head.number - self.finality_depth)]

    def outcomes(self, up_to: int | None = None) -> Iterator[tuple[MinedBlock, Outcome]]:
        """Every mined transaction of the chain as it is, in order, up to the block of that number."""
        for block in self.blocks[: None if up_to is None else up_to + 1]:
            for outcome in block.outcomes:
                yield block, outcome

    def facts(self, up_to: int | None = None) -> Iterator[tuple[str, bytes]]:
        """Every event of the contract as its name and its first indexed value, in the order of the chain."""
        for _block, outcome in self.outcomes(up_to):
            yield from outcome.facts()

    # --- what a test does to the chain

    def mine(self) -> MinedBlock:
        """One more block, with everything in the pool that can be mined."""
        return self._append(self._next_timestamp_s(), self._executable())

    def reorganise(self, depth: int, *, keeps_transactions: bool = True) -> None:
        """Another branch takes the place of the last `depth` blocks: one longer, and without their transactions.

        These go back to the pool, or are gone for good.
        """
        if not 0 < depth <= self.head.number:
            raise ValueError(f"a chain of {self.head.number} blocks cannot lose {depth}")
        lost = self.blocks[-depth:]
        del self.blocks[-depth:]
        self._branch += 1
        self._state = self._compute_state(self.head.number)
        for block in lost:
            self._append(block.timestamp_s, [])
        self._append(lost[-1].timestamp_s + 1, [])
        if keeps_transactions:
            back = {outcome.transaction.hash: outcome.transaction for block in lost for outcome in block.outcomes}
            self.pool = back | self.pool

    # --- what a client may ask

    def state_at(self, number: int) -> _State:
        """After the block of that number: of the head, the state itself."""
        return self._state if number == self.head.number else self._compute_state(number)

    def execute(
        self,
        number: int,
        *,
        sender: Address,
        to: str | None,
        data: bytes,
        value_wei: int,
        gas_limit: int,
        behind_pool: bool,
    ) -> tuple[bytes, int]:
        """What a call returns, and its gas, in the block after the numbered one; `behind_pool`: after all that waits.

        RpcError if it is refused.
        """
        state, is_head = self.state_at(number), number == self.head.number
        with state.rolled_back():
            timestamp_s = self._next_timestamp_s() if is_head else self.blocks[number + 1].timestamp_s
            self._set_block(state, number + 1, timestamp_s, self.base_fee_wei)
            if behind_pool:
                for transaction in self._executable():
                    self._apply(state, transaction, self.base_fee_wei)
            if state.balance_wei(sender) < value_wei:
                raise RpcError(f"insufficient funds for transfer: address {sender}")
            try:
                if to is None:
                    state.evm.deploy(sender, data, value=value_wei, gas=gas_limit)
                    return b"", int(state.evm.result.gas_used)
                recipient = to_checksum_address(to)
                output = state.evm.message_call(sender, recipient, calldata=data, value=value_wei, gas=gas_limit)
            except RuntimeError as error:
                raise _refusal(str(error)) from None
            return bytes(output), int(state.evm.result.gas_used)

    def send(self, raw: bytes) -> Hash32:
        """Take signed bytes into the pool by geth's rules; RpcError in geth's words."""
        transaction = _recover(raw)
        self.on_send(transaction)
        signed, sender = transaction.signed, transaction.sender
        if signed.chain_id != self.chain_id:
            raise RpcError(f"invalid chain id for signer: have {signed.chain_id} want {self.chain_id}")
        if transaction.hash in self.pool:
            raise RpcError("already known")
        mined_count = self._state.nonces[sender]
        if signed.nonce < mined_count:
            raise RpcError(f"nonce too low: next nonce {mined_count}, tx nonce {signed.nonce}")
        balance_wei = self._state.balance_wei(sender)
        if balance_wei < transaction.max_cost_wei:
            raise RpcError(
                f"insufficient funds for gas * price + value: balance {balance_wei}, tx cost "
                f"{transaction.max_cost_wei}, overshot {transaction.max_cost_wei - balance_wei}"
            )
        for other in [other for other in self._pool_of(sender) if other.signed.nonce == signed.nonce]:
            if not _outbids(signed, other.signed):
                raise RpcError("replacement transaction underpriced")
            del self.pool[other.hash]
        self.pool[transaction.hash] = transaction
        return transaction.hash

    def mined_count(self, sender: Address) -> int:
        return self._state.nonces[sender]

    def next_nonce(self, sender: Address) -> int:
        """Behind all that is mined and waits in the pool without a gap."""
        waiting = {transaction.signed.nonce for transaction in self._pool_of(sender)}
        nonce = self._state.nonces[sender]
        while nonce in waiting:
            nonce += 1
        return nonce

    def balance_wei(self, address: Address) -> int:
        return self._state.balance_wei(address)

    # --- the pool and the blocks

    def _pool_of(self, sender: Address) -> list[Transaction]:
        return [transaction for transaction in self.pool.values() if transaction.sender == sender]

    def _executable(self) -> list[Transaction]:
        """What the next block takes, in the order of arrival, nonces of one sender in order."""
        nonces = dict(self._state.nonces)
        chosen: list[Transaction] = []
        waiting = [t for t in self.pool.values() if t.signed.max_fee_per_gas_wei >= self.base_fee_wei]
        while ready := [t for t in waiting if t.signed.nonce == nonces.get(t.sender, 0)]:
            for transaction in ready:
                nonces[transaction.sender] = transaction.signed.nonce + 1
                waiting.remove(transaction)
            chosen += ready
        return chosen

    def _append(self, timestamp_s: int, transactions: Sequence[Transaction]) -> MinedBlock:
        number = self.head.number + 1
        self._set_block(self._state, number, timestamp_s, self.base_fee_wei)
        outcomes = [
            outcome
            for transaction in transactions
            if (outcome := self._apply(self._state, transaction, self.base_fee_wei)) is not None
        ]
        header = f"{number}/{timestamp_s}/{self._branch}".encode()
        content = b"".join(outcome.transaction.hash for outcome in outcomes)
        block = MinedBlock(
            number, keccak(self.head.hash + header + content), timestamp_s, self.base_fee_wei, tuple(outcomes)
        )
        self.blocks.append(block)
        for outcome in outcomes:
            self.pool.pop(outcome.transaction.hash, None)
        for transaction in [t for t in self.pool.values() if t.signed.nonce < self._state.nonces[t.sender]]:
            del self.pool[transaction.hash]
        return block

    def _apply(self, state: _State, transaction: Transaction, base_fee_wei: int) -> Outcome | None:
        """Run a transaction on a state; None, and nothing happens, if its sender cannot pay for it."""
        signed, sender = transaction.signed, transaction.sender
        price_wei = transaction.price_wei(base_fee_wei)
        if state.nonces[sender] != signed.nonce or state.balance_wei(sender) < transaction.max_cost_wei:
            return None
        is_success, gas_used, created = True, signed.gas_limit, None
        try:
            if signed.to is None:
                balance_wei = state.balance_wei(sender)
                state.evm.insert_account_info(sender, pyrevm.AccountInfo(nonce=signed.nonce, balance=balance_wei))
                address = state.evm.deploy(sender, signed.data, value=signed.value_wei, gas=signed.gas_limit)
                created = Address(to_checksum_address(address))
            else:
                state.evm.message_call(
                    sender, signed.to, calldata=signed.data, value=signed.value_wei, gas=signed.gas_limit
                )
            gas_used = state.evm.result.gas_used
        except RuntimeError as error:
            is_success = False
            if (reverted := _REVERT.match(str(error))) is not None:
                gas_used = int(reverted.group(1))
        logs = tuple(_read_log(log) for log in state.evm.result.logs) if is_success else ()
        state.nonces[sender] += 1
        state.charge(sender, gas_used * price_wei)
        return Outcome(transaction, is_success, gas_used, price_wei, logs, created)

    def _new_state(self) -> _State:
        state = _State(pyrevm.EVM(pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=self.chain_id)), spec_id="PRAGUE"))
        for address, amount_wei in self._balances_wei.items():
            state.evm.set_balance(address, amount_wei)
        return state

    def _compute_state(self, number: int) -> _State:
        state = self._new_state()
        for block in self.blocks[: number + 1]:
            if block.outcomes:
                self._set_block(state, block.number, block.timestamp_s, block.base_fee_wei)
            for outcome in block.outcomes:
                self._apply(state, outcome.transaction, block.base_fee_wei)
        return state

    def _next_timestamp_s(self) -> int:
        return max(self.head.timestamp_s + 1, GENESIS_S + int(self.clock.now_s))

    def _set_block(self, state: _State, number: int, timestamp_s: int, base_fee_wei: int) -> None:
        state.evm.set_block_env(pyrevm.BlockEnv(number=number, timestamp=timestamp_s, basefee=base_fee_wei))


def _recover(raw: bytes) -> Transaction:
    try:
        return Transaction(read_transaction(raw), Address(Account.recover_transaction(raw)))
    except (Fatal, ValueError, TypeError, rlp.DecodingError):
        raise RpcError("rlp: the transaction cannot be decoded", INVALID_PARAMS) from None


def _outbids(new: SignedTransaction, old: SignedTransaction) -> bool:
    return (
        new.max_fee_per_gas_wei * 100 >= old.max_fee_per_gas_wei * MIN_BUMP_PERCENT
        and new.max_priority_fee_per_gas_wei * 100 >= old.max_priority_fee_per_gas_wei * MIN_BUMP_PERCENT
    )


def _refusal(error: str) -> RpcError:
    if (reverted := _REVERT.match(error)) is not None:
        reason = revert_reason(bytes.fromhex(reverted.group(2)))
        words = f"execution reverted: {reason}" if reason else "execution reverted"
        return RpcError(words, REVERTED, "0x" + reverted.group(2))
    if error.startswith("Halt"):
        return RpcError("out of gas" if "OutOfGas" in error else "invalid opcode")
    return RpcError("intrinsic gas too low" if "GasLimit" in error else error)


def _read_log(log: Any) -> RawLog:
    topics, data = log.data
    return RawLog(Address(to_checksum_address(log.address)), tuple(bytes(topic) for topic in topics), bytes(data))
