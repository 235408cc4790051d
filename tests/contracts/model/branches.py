"""Which branches of the contract's source a sequence of calls takes, seen on py-evm through Vyper's source map.

A branch is one outcome of an `if`, of an operand of `and`/`or`, or of one `_check` call. They are read off the compiled
code: every JUMPI whose place in the source is such a node; `_check` holds one JUMPI for all its callers, so there the
JUMP that called it is told too. What the compiler adds on its own (decoding, overflow, array bounds, loop ends) is not
a branch of the source.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from eth.chains.base import MiningChain
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth_utils.address import to_canonical_address, to_checksum_address
from rlp import encode as rlp_encode
from vyper.compiler import compile_code

from contracts import SOURCE_PATH, load_artifact
from tests.contracts.evm import DEPLOYER, GAS_LIMIT, GENESIS_S, Log, Reverted, revert_reason
from tests.unit.protocol.second_implementation import k

JUMP, JUMPI, PUSH1, PUSH32 = 0x56, 0x57, 0x60, 0x7F
INTO_A_FUNCTION = "i"
"""How Vyper's source map marks the JUMP of a call."""


class Branch(NamedTuple):
    """One way on from a condition, which is named by its line, column and source text."""

    line: int
    column: int
    text: str
    outcome: bool


class SourceMap(NamedTuple):
    """Where the conditions are in the runtime code; `check` is the JUMPI inside `_check`."""

    conditions: dict[int, tuple[int, int, str]]
    check: int
    check_calls: dict[int, tuple[int, int, str]]

    def all_branches(self) -> set[Branch]:
        places = {*self.conditions.values(), *self.check_calls.values()}
        return {Branch(*place, outcome) for place in places for outcome in (False, True)}


def _instructions(code: bytes) -> Iterator[tuple[int, int]]:
    pc = 0
    while pc < len(code):
        yield pc, code[pc]
        pc += 1 + max(0, code[pc] - PUSH1 + 1 if code[pc] <= PUSH32 else 0)


@cache
def source_map() -> SourceMap:
    """Of the contract as it is shipped, whose code is what its source compiles to (test_artifact.py)."""
    source = SOURCE_PATH.read_text("utf-8")
    outputs = compile_code(source, output_formats=["source_map_runtime", "annotated_ast_dict"])
    code, positions = load_artifact().runtime_bytecode, outputs["source_map_runtime"]
    nodes = {node["node_id"]: node for node in _walk(outputs["annotated_ast_dict"]["ast"])}
    lines = source.splitlines()

    def node_at(pc: int) -> dict[str, Any]:
        _, node_id = positions["pc_ast_map"].get(pc, (-1, -1))
        return nodes.get(node_id, {"ast_type": ""})

    def place(node: dict[str, Any]) -> tuple[int, int, str]:
        return node["lineno"], node["col_offset"], lines[node["lineno"] - 1].strip()

    conditions, calls, check = {}, {}, -1
    for pc, opcode in _instructions(code):
        node = node_at(pc)
        if opcode == JUMPI and node["ast_type"] in ("If", "BoolOp") and pc not in positions["error_map"]:
            conditions[pc] = place(node)
        elif opcode == JUMPI and node["ast_type"] == "Assert":
            check = pc
        elif opcode == JUMP and _is_check(node) and positions["pc_jump_map"][pc] == INTO_A_FUNCTION:
            calls[pc] = place(node)
    return SourceMap(conditions, check, calls)


def _is_check(node: dict[str, Any]) -> bool:
    return node["ast_type"] == "Expr" and node["value"].get("func", {}).get("attr") == "_check"


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "ast_type" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _walk(item)


class _Watched:
    """An opcode of py-evm that tells where it went."""

    def __init__(self, opcode: Any, taken: set[tuple[int, int]], address: list[bytes]) -> None:
        self._opcode, self._taken, self._address = opcode, taken, address
        self.mnemonic, self.gas_cost = opcode.mnemonic, opcode.gas_cost

    def __call__(self, computation: Any) -> Any:
        pc = computation.code.program_counter - 1
        result = self._opcode(computation)
        if computation.msg.storage_address == self._address[0]:
            self._taken.add((pc, computation.code.program_counter))
            self.last = pc
        return result


class TracedEvm:
    """A `Chain` without blocks, a hundred times slower than PyRevm, that remembers the branches taken."""

    chain_id = 31337

    def __init__(self) -> None:
        self.taken: set[Branch] = set()
        self._jumps: set[tuple[int, int]] = set()
        self._address = [b""]
        opcodes = dict(PragueComputation.opcodes)
        self._jump = opcodes[JUMP] = _Watched(opcodes[JUMP], set(), self._address)
        opcodes[JUMPI] = self._watch_conditions(opcodes[JUMPI])
        computation = type("TracedComputation", (PragueComputation,), {"opcodes": opcodes})
        state = type("TracedState", (PragueState,), {"computation_class": computation})
        vm = type("TracedVM", (PragueVM,), {"_state_class": state})
        chain = MiningChain.configure("TracedChain", vm_configuration=((0, vm),), chain_id=self.chain_id)
        header = {"timestamp": GENESIS_S, "difficulty": 0, "gas_limit": GAS_LIMIT}
        self._state = chain.from_genesis(AtomicDB(), header, {}).get_vm().state
        self.now = GENESIS_S

    def _watch_conditions(self, opcode: Any) -> Any:
        where = source_map()

        def watched(computation: Any) -> Any:
            pc = computation.code.program_counter - 1
            result = opcode(computation)
            if computation.msg.storage_address == self._address[0]:
                outcome = computation.code.program_counter != pc + 1
                if pc in where.conditions:
                    self.taken.add(Branch(*where.conditions[pc], outcome))
                elif pc == where.check:
                    self.taken.add(Branch(*where.check_calls[self._jump.last], outcome))
            return result

        watched.mnemonic, watched.gas_cost = opcode.mnemonic, opcode.gas_cost  # type: ignore[attr-defined]
        return watched

    def deploy(self, initcode: bytes) -> str:
        sender = to_canonical_address(DEPLOYER)
        nonce = self._state.get_nonce(sender)
        address = k(rlp_encode([sender, nonce]))[12:]
        self._state.increment_nonce(sender)
        message = Message(GAS_LIMIT, CREATE_CONTRACT_ADDRESS, sender, 0, b"", initcode, create_address=address)
        self._run(message, self._state.computation_class.apply_create_message)
        self._address[0] = address
        return str(to_checksum_address(address))

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[Log]:
        computation = self._run(self._message(sender, to, data, value_wei))
        return [
            Log([topic.to_bytes(32, "big") for topic in topics], data)
            for address, topics, data in computation.get_log_entries()
        ]

    def read(self, to: str, data: bytes) -> bytes:
        return bytes(self._run(self._message(DEPLOYER, to, data, 0)).output)

    def balance(self, address: str) -> int:
        return int(self._state.get_balance(to_canonical_address(address)))

    def fund(self, address: str, amount_wei: int) -> None:
        self._state.delta_balance(to_canonical_address(address), amount_wei)

    def set_code(self, address: str, code: bytes) -> None:
        self._state.set_code(to_canonical_address(address), code)

    def _message(self, sender: str, to: str, data: bytes, value_wei: int) -> Message:
        target = to_canonical_address(to)
        code = self._state.get_code(target)
        return Message(GAS_LIMIT, target, to_canonical_address(sender), value_wei, data, code)

    def _run(self, message: Message, apply: Any = None) -> Any:
        self._state.execution_context._timestamp = self.now
        self._state.clear_transient_storage()
        apply = apply or self._state.computation_class.apply_message
        context = self._state.get_transaction_context_class()(gas_price=0, origin=message.sender)
        computation = apply(self._state, message, context)
        if computation.is_error:
            raise Reverted(revert_reason(bytes(computation.output)))
        return computation
