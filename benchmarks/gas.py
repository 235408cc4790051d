"""What the contract costs, on the metered chain of its tests; every figure is from a transaction's receipt."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from vyper.compiler import compile_code

from contracts import TaskState, load_artifact
from tests.contracts.evm import Chain, Contract
from tests.contracts.market import FLOORS_S, UNSTAKE_DELAY_S, Market
from tests.contracts.pyevm import PyEvm
from tests.contracts.rounds import COMMITTEE, EVIDENCE, GUARDIAN, MINER, OUTSIDER, PAYER, VALIDATOR, Round
from validator.protocol import typed_data
from validator.protocol.commitment import MerkleTree
from validator.types import Hash32, UnixSeconds

FEW_ROWS = 1_000
FUNDS_WEI = 1_000
BASE_GAS, BYTE_GAS, ZERO_BYTE_GAS = 21_000, 40, 10
"""The least that a transaction and the bytes of its calldata take: EIP-7623."""
URL = "https://miner.example:8443"
TLS_KEY_HASH = b"\x07" * 32
ERC20 = """
event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    amount: uint256

balanceOf: public(HashMap[address, uint256])

@deploy
def __init__():
    self.balanceOf[msg.sender] = 10**24

@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    log Transfer(sender=msg.sender, receiver=to, amount=amount)
    return True
"""


class Metered(Chain, Protocol):
    """A chain that tells what the last transaction took."""

    @property
    def gas_used(self) -> int: ...


class Meter(Market):
    """A market on a metered chain, its miner without credit, and what each call took."""

    def __init__(self, chain: Metered | None = None) -> None:
        self._metered = chain or PyEvm()
        super().__init__(self._metered)
        self.call(MINER.address, "withdraw", self.credits(MINER.address))
        self.gas: dict[str, list[int]] = {}

    def spend(self, name: str, call: Callable[..., object], *args: Any, **keywords: Any) -> None:
        """Make one transaction and enter its gas under `name`."""
        call(*args, **keywords)
        self.gas.setdefault(name, []).append(self._metered.gas_used)

    def make_round(self, k: int = FEW_ROWS, **changes: Any) -> Round:
        """As in any market, but the rows that no call shows are mere hashes, so that 100,000 take a second."""
        round_ = super().make_round(k=changes.get("n", 16), **changes)
        shown = [*round_.leaves, round_.contradiction.leaf]
        tree = MerkleTree([*shown, *(Hash32(i.to_bytes(32, "big")) for i in range(k - len(shown)))])
        return self.recommit(replace(self.retarget(round_, dataset_root=tree.root), tree=tree))


def measure_calls() -> dict[str, Any]:
    """Every call of the contract, the first for its caller and, where it may differ, a later one.

    n = 16, 1,000 rows, a URL of 26 characters.
    """
    market = Meter()
    _spend_as_an_account(market)
    for _ in range(2):
        _spend_on_an_honest_task(market, market.make_round())
    offered, expiry = market.make_round(), UnixSeconds(market.chain.now + 60)
    offer = market.sign(VALIDATOR, typed_data.offer(offered.terms, offered.nonce, expiry))
    arguments = (offered.terms.as_tuple(), expiry, offer)
    market.spend("open_task_with_offer", market.call, PAYER.address, "open_task_with_offer", *arguments)

    answered = market.reach(TaskState.SUBMITTED)
    market.spend("challenge", market.challenge, answered)
    market.spend("answer", market.answer, answered, hits=16)
    market.spend("settle after an answer, paid", market.settle, answered, hits=16)
    judged = market.reach(TaskState.JUDGING)
    verdicts = [market.verdict(judged, member) for member in COMMITTEE[:2]]
    market.spend("judge, a quorum of 2", market.judge, judged, verdicts)
    market.spend("dispute", market.dispute, market.reach(TaskState.SLASH_PENDING))
    for state in list(TaskState)[TaskState.OPEN : TaskState.SLASH_PENDING + 1]:
        round_ = market.reach(state)
        with market.rolled_back():
            market.expire(round_)
            market.spend(f"poke, {state.name.lower()}", market.poke, round_)
    market.spend("sunset", market.call, GUARDIAN.address, "sunset")
    return {"gas": market.gas}


def _spend_as_an_account(market: Meter) -> None:
    someone = OUTSIDER.address
    for nonce in range(2):
        market.spend("deposit", market.call, someone, "deposit", value_wei=FUNDS_WEI)
        market.spend("register", market.call, someone, "register", EVIDENCE.address, URL, TLS_KEY_HASH)
        market.spend("stake", market.call, someone, "stake", FUNDS_WEI // 10)
        market.spend("request_unstake", market.call, someone, "request_unstake", FUNDS_WEI // 20)
        market.spend("cancel_order", market.call, someone, "cancel_order", nonce)
    market.spend("rotate_evidence_key", market.call, someone, "rotate_evidence_key", PAYER.address)
    market.chain.now += UNSTAKE_DELAY_S
    market.spend("unstake", market.call, someone, "unstake")
    market.spend("withdraw, not all", market.call, someone, "withdraw", 1)
    market.spend("withdraw, all", market.call, someone, "withdraw", market.credits(someone))


def _spend_on_an_honest_task(market: Meter, round_: Round) -> None:
    market.spend("open_task", market.open, round_)
    market.spend("accept", market.accept, round_)
    market.spend("submit", market.submit, round_)
    market.spend("settle, paid", market.settle, round_, hits=round_.terms.n)


def measure_task(n: int, k: int, chain: Metered | None = None) -> dict[str, Any]:
    """A whole honest task at its dearest: every account's first, each slot written for the first time."""
    market = Meter(chain)
    round_ = market.make_round(n=n, k=k)
    _spend_on_an_honest_task(market, round_)
    market.spend("withdraw", market.call, MINER.address, "withdraw", round_.terms.reward)
    assert market.task(round_).state is TaskState.PAID
    return {"gas": {name: gas for name, (gas,) in market.gas.items()}}


def measure_settlement(n: int, k: int) -> dict[str, Any]:
    """`settle` into each zone, out of one state; all but paid prove every row.

    With the bytes of its calldata, and the gas that EIP-7623 asks for them at least.
    """
    market = Meter()
    round_ = market.reach(TaskState.SUBMITTED, n=n, k=k)
    calldata_bytes, floor_gas = {}, {}
    for zone, hits, state in (
        ("paid", n, TaskState.PAID),
        ("refunded", round_.terms.k_pay - 1, TaskState.REFUNDED),
        ("slash", 0, TaskState.SLASH_PENDING),
    ):
        with market.rolled_back():
            calldata = market.settle_calldata(round_, hits)
            calldata_bytes[zone] = len(calldata)
            floor_gas[zone] = BASE_GAS + sum(ZERO_BYTE_GAS if byte == 0 else BYTE_GAS for byte in calldata)
            market.spend(zone, market.settle, round_, hits)
            assert market.task(round_).state is state
    gas = {zone: gas for zone, (gas,) in market.gas.items()}
    return {"gas": gas, "calldata_bytes": calldata_bytes, "floor_gas": floor_gas}


def measure_deployment() -> dict[str, Any]:
    """The contract's constructor, and the bytes of code that it leaves."""
    chain, artifact = PyEvm(), load_artifact()
    Contract(chain, artifact.abi, artifact.bytecode, (*FLOORS_S, UNSTAKE_DELAY_S, GUARDIAN.address))
    return {"gas": {"deployment": chain.gas_used}, "runtime_bytes": len(artifact.runtime_bytecode)}


def measure_erc20_transfer() -> dict[str, Any]:
    """The yardstick: a plain token's `transfer`, to a holder who had none of it and to one who had."""
    chain = PyEvm()
    compiled = compile_code(ERC20, output_formats=["bytecode", "abi"])
    token = Contract(chain, compiled["abi"], bytes.fromhex(compiled["bytecode"][2:]))
    gas = {}
    for holder in ("to a new holder", "to an old holder"):
        token.call(chain.bank, "transfer", OUTSIDER.address, 10**18)
        gas[holder] = chain.gas_used
    return {"gas": gas}
