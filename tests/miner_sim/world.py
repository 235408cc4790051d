"""The other side of a miner in these tests: an embedded chain with the contract, a payer, and validators."""

import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from openai import AsyncOpenAI

import validator.base_model
from miner_sim.config import FleetConfig, MinerConfig
from miner_sim.fleet import RunningMiner
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, TaskOpened, Touchstone
from validator.edges.keys import DEV_HD_PATH, DEV_MNEMONIC, LocalSigner, SecretBytes, Signer, dev_mnemonic_signer
from validator.protocol import typed_data
from validator.protocol.commitment import (
    MerkleTree,
    Row,
    RowHashes,
    Terms,
    encode_scheme,
    hash_commitment,
    hash_marks,
    hash_row,
    hash_spec,
)
from validator.protocol.session import SessionToken
from validator.protocol.state import Weights
from validator.protocol.wire import encode_training_file
from validator.types import Address, Hash32, TaskId, UnixSeconds, Wei

WITH_RUNNING_MINERS = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("miner_sim")]
"""For modules whose tests share the running miners: one event loop, and one process where tests run in several."""

ETHER = 10**18
N, K_PAY, W, MAX_TOKENS = 16, 12, 2, 12
BASE_MODEL = Path(validator.base_model.__file__).parent
SPEC = {
    "base_model": "base_model",
    "method": "full",
    "epochs": 1,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "max_length": 96,
    "seed": 7,
}
LONG = 30 * 86_400
_order_nonces = itertools.count()


def private_key(index: int) -> str:
    """Of account `index` of the public test mnemonic, as a fleet's configuration wants it."""
    return "0x" + key_from_seed(seed_from_mnemonic(DEV_MNEMONIC, ""), f"{DEV_HD_PATH}/{index}").hex()


def evidence_key(index: int) -> str:
    return "0x" + (1000 + index).to_bytes(32, "big").hex()


def make_rows(count: int = 24, topic: str = "tea") -> list[Row]:
    return [Row(f"What is step {i} of making {topic}?", f"Take cup {i} and pour it slowly.") for i in range(count)]


@dataclass(frozen=True)
class Task:
    """An open task and all that its validator knows of it; the first n rows in leaf order are its marks."""

    task_id: TaskId
    terms: Terms
    validator_nonce: int
    rows: Sequence[Row]
    dataset_salt: Hash32
    salt: Hash32
    marks: Sequence[tuple[RowHashes, Row]]
    spec: str = field(default_factory=lambda: compact(SPEC))

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "task_id": "0x" + self.task_id.hex(),
            "dataset_salt": "0x" + self.dataset_salt.hex(),
            "spec": self.spec,
        }

    @property
    def training_file(self) -> bytes:
        return encode_training_file(self.rows)

    @property
    def prompt_hashes(self) -> list[str]:
        return ["0x" + hashes.prompt_hash.hex() for hashes, _ in self.marks]


def compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class World:
    rpc_url: str
    chain: Chain
    contract: Touchstone
    payer: Signer
    validator: Signer
    stranger: Signer
    """Another validator, with credit but no task."""
    senders: dict[Address, TransactionSender]
    clients: list[AsyncOpenAI] = field(default_factory=list)

    @classmethod
    async def create(cls, rpc_url: str) -> "World":
        chain = await Chain.connect(rpc_url)
        payer, validator_, stranger = (dev_mnemonic_signer(i) for i in range(3))
        senders = {signer.address: TransactionSender(chain, signer) for signer in (payer, validator_, stranger)}
        contract = await Touchstone.deploy(senders[payer.address], Network(*[0] * 8, payer.address))
        for sender in senders.values():
            await contract.deposit(sender, Wei(100 * ETHER))
        return cls(rpc_url, chain, contract, payer, validator_, stranger, senders)

    def fleet_config(self, home: Path, miners: Sequence[MinerConfig]) -> FleetConfig:
        return FleetConfig(
            rpc_url=self.rpc_url,
            contract=self.contract.address,
            home=home,
            base_model=str(BASE_MODEL),
            training_workers=1,
            miners=list(miners),
        )

    async def fund(self, account: Address, amount: Wei) -> None:
        """Give it some of the payer's ether: of the test mnemonic's accounts there are only ten."""
        await self.senders[self.payer.address].send(account, value_wei=amount)

    async def open_task(
        self,
        miner: Address,
        rows: Sequence[Row] | None = None,
        spec: str = compact(SPEC),
        weights: int = 0,
        train_seconds: int = LONG,
    ) -> Task:
        """Open a task for a miner, by the payer's order, and deliver nothing yet."""
        rows = make_rows() if rows is None else rows
        dataset_salt, salt = Hash32(os.urandom(32)), Hash32(os.urandom(32))
        hashed = sorted(((hash_row(dataset_salt, row, W), row) for row in rows), key=lambda pair: pair[0].leaf)
        marks, root = hashed[:N], MerkleTree(hashes.leaf for hashes, _ in hashed).root
        epoch = (await self.contract.miner(miner)).epoch
        commitment = hash_commitment(
            chain_id=self.chain.chain_id,
            contract=self.contract.address,
            validator=self.validator.address,
            miner=miner,
            miner_epoch=epoch,
            dataset_root=root,
            marks_hash=hash_marks([hashes.leaf for hashes, _ in marks]),
            salt=salt,
        )
        terms = Terms(
            payer=self.payer.address,
            validator=self.validator.address,
            miner=miner,
            miner_epoch=epoch,
            reward=Wei(1000),
            fee=Wei(50),
            miner_bond=Wei(1000),
            availability_bond=Wei(500),
            validator_bond=Wei(1260),
            answer_fee=Wei(10),
            scheme=encode_scheme("canary"),
            w=W,
            n=N,
            k_pay=K_PAY,
            k_slash=1,
            slashing=False,
            max_tokens=MAX_TOKENS,
            dataset_root=root,
            commitment=commitment,
            spec_hash=hash_spec(spec),
            weights=weights,
            min_coverage_bps=0,
            committee_hash=Hash32(bytes(32)),
            quorum=int(weights == Weights.JUDGED),
            **{f"{state}_seconds": LONG for state in _STATES} | {"train_seconds": train_seconds},
        )
        order = typed_data.OrderMessage(
            self.validator.address,
            terms.reward,
            terms.fee,
            terms.spec_hash,
            Hash32(bytes(32)),
            N,
            K_PAY,
            next(_order_nonces),
            UnixSeconds(int(time.time()) + LONG),
        )
        signature = await self.payer.sign_typed_data(self.contract.domain, typed_data.order(order))
        receipt = await self.contract.open_task(self.senders[self.validator.address], terms, order, signature)
        [opened] = [
            event
            for event in await self.contract.events(receipt.block_number, receipt.block_number)
            if isinstance(event, TaskOpened)
        ]
        return Task(opened.task_id, terms, opened.validator_nonce, rows, dataset_salt, salt, marks, spec)

    async def session(
        self,
        miner: Address,
        *,
        signer: Signer | None = None,
        claims: Address | None = None,
        nonce: int | None = None,
        lifetime_s: int = 600,
    ) -> str:
        """A session token; `claims` names another validator than the one that signs."""
        signer = signer or self.validator
        validator_ = claims or signer.address
        nonce = time.time_ns() // 1000 if nonce is None else nonce  # as the real client counts them
        expiry = UnixSeconds(int(time.time()) + lifetime_s)
        message = typed_data.session(validator_, miner, nonce, expiry)
        signature = await signer.sign_typed_data(self.contract.domain, message)
        return SessionToken(validator_, miner, nonce, expiry, signature).encode()

    async def client(self, miner: RunningMiner, **session: Any) -> AsyncOpenAI:
        """The real OpenAI client, its API key a session token."""
        return self.client_with(miner, await self.session(miner.address, **session))

    def client_with(self, miner: RunningMiner, token: str) -> AsyncOpenAI:
        # Never left to the garbage collector: a client that it finds unclosed closes file descriptors by number later,
        # when they belong to other sockets, which then hang.
        client = AsyncOpenAI(base_url=f"{miner.url}/v1", api_key=token, max_retries=0)
        self.clients.append(client)
        return client

    async def aclose(self) -> None:
        for client in self.clients:
            await client.close()
        await self.chain.aclose()


_STATES = ("accept", "train", "submitted", "challenged", "answered", "judging", "dispute")


def new_signer() -> LocalSigner:
    return LocalSigner(SecretBytes(os.urandom(32)))


def change_one_byte(task: Task) -> Task:
    """The same task with a dataset that differs from the committed one in one letter."""
    first, *rest = task.rows
    return replace(task, rows=[Row(first.prompt, first.response.replace("T", "t", 1)), *rest])
