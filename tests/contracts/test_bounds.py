"""E9: every array at its bound goes through, and one element more is refused before the contract looks at it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode

from contracts import TaskState
from tests.contracts.evm import Reverted
from tests.contracts.functions import FUNCTIONS
from tests.contracts.market import Market
from tests.contracts.rounds import NO_HASH, NOBODY, OUTSIDER, Round, account_of
from validator.protocol.commitment import MerkleTree, keccak
from validator.types import Hash32

MEMBERS = sorted((account_of(f"member {i}") for i in range(16)), key=lambda member: int(member.address, 16))
ADDRESSES = [member.address for member in MEMBERS]
FILLERS = [keccak(b"filler %d" % i) for i in range(63)]
BESIDE = [keccak(b"level %d" % i) for i in range(17)]


class DeepTree(MerkleTree):
    """64 marks, a row that contradicts one, and 63 others, in a corner of 2^24 rows: every proof has 24 hashes."""

    @property
    def root(self) -> Hash32:
        node = super().root
        for sibling in BESIDE:
            node = keccak(min(node, sibling) + max(node, sibling))
        return node

    def proof(self, leaf: Hash32) -> list[Hash32]:
        return [*super().proof(leaf), *BESIDE]


def submit_largest(market: Market, **changes: Any) -> Round:
    round_ = market.make_round(n=64, k=64, **changes)
    tree = DeepTree([*round_.leaves, round_.contradiction.leaf, *FILLERS])
    round_ = market.recommit(replace(market.retarget(round_, dataset_root=tree.root), tree=tree))
    market.open(round_)
    market.accept(round_)
    market.submit(round_)
    return round_


def test_the_longest_arrays_go_through(market: Market) -> None:
    round_ = submit_largest(market)
    assert {len(proof) for proof in round_.proofs} == {24}
    market.challenge(round_)
    market.answer(round_, hits=0)
    market.settle(round_, hits=0)
    market.dispute(round_)
    assert market.task(round_).state is TaskState.DISPUTED


def test_the_largest_committee_goes_through(market: Market) -> None:
    committee_hash = keccak(encode(["address[]"], [ADDRESSES]))
    round_ = submit_largest(market, weights=2, committee_hash=committee_hash, quorum=16)
    market.settle(round_, hits=64)
    verdicts = [market.verdict(round_, member) for member in MEMBERS]
    market.on_task(OUTSIDER.address, "judge", round_, ADDRESSES, verdicts)
    assert market.task(round_).state is TaskState.PAID


BOUNDS: dict[tuple[str, str], tuple[int, Callable[[int], Any]]] = {
    ("register", "url"): (256, lambda count: "u" * count),
    ("open_task", "order_signature"): (65, bytes),
    ("open_task_with_offer", "offer_signature"): (65, bytes),
    ("challenge", "leaves"): (64, lambda count: [NO_HASH] * count),
    ("answer", "replies"): (64, lambda count: [NO_HASH] * count),
    ("settle", "rows"): (64, lambda count: [(NO_HASH,) * 3] * count),
    ("settle", "replies"): (64, lambda count: [NO_HASH] * count),
    ("settle", "signature"): (65, bytes),
    ("settle", "proofs"): (64, lambda count: [[]] * count),
    ("settle", "proofs' hashes"): (24, lambda count: [[NO_HASH] * count]),
    ("judge", "committee"): (16, lambda count: [NOBODY] * count),
    ("judge", "verdicts"): (16, lambda count: [(0, 0, NO_HASH, b"")] * count),
    ("judge", "verdicts' signature"): (65, lambda count: [(0, 0, NO_HASH, bytes(count))]),
    ("dispute", "leaves"): (64, lambda count: [NO_HASH] * count),
    ("dispute", "proof"): (24, lambda count: [NO_HASH] * count),
}


def zero(entry: Any) -> Any:
    """The least value of an ABI type."""
    kind = entry["type"]
    if kind == "tuple":
        return tuple(zero(component) for component in entry["components"])
    if kind.endswith("[]"):
        return []
    return {"address": NOBODY, "bytes": b"", "string": "", "bytes32": NO_HASH, "bool": False}.get(kind, 0)


@pytest.mark.parametrize(("name", "argument"), BOUNDS)
def test_one_more_is_refused_before_it_is_looked_at(market: Market, name: str, argument: str) -> None:
    bound, make = BOUNDS[name, argument]
    inputs = FUNCTIONS[name]["inputs"]
    for count in (bound, bound + 1):
        values = {entry["name"]: zero(entry) for entry in inputs} | {argument.split("'")[0]: make(count)}
        with pytest.raises(Reverted) as refusal:
            market.call(OUTSIDER.address, name, *values.values())
        assert (str(refusal.value) == "") == (count > bound)


def test_the_table_has_every_array_of_every_function() -> None:
    unbounded = {
        (name, entry["name"])
        for name, function in FUNCTIONS.items()
        for entry in function["inputs"]
        if entry["type"].endswith("[]") or entry["type"] in ("bytes", "string")
    }
    assert unbounded == {(name, argument) for name, argument in BOUNDS if "'" not in argument}
