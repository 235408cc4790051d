"""One chain through several nodes, each of which may lie, flap or fail.

Rules kept: what money depends on counts if two nodes say the same, and nothing is believed meanwhile (R3); any other
read is asked of the healthiest and moves on to the next (R5); signed bytes go to all of them (R11). Where one node is
configured, its word has to do.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from validator.edges.rpc_node import READ_METHODS, AnswerTooLarge, Node
from validator.errors import BadInput, ChainUnreachable, Fatal, Reverted, TouchstoneError, Transient
from validator.telemetry import RPC_DISAGREEMENTS, RPC_FAILOVERS

T = TypeVar("T")

READ_ATTEMPTS = 3
LONGEST_WAIT_S = 2.0
"""For a node to be ready again where its word is needed for an agreement, or to take what another one has refused."""
DISAGREEMENT_PAUSES_S = 0.25, 1.0
"""A node hears of a block a little later than another: it is asked again before that counts."""
STALE_AFTER_S = 180.0
"""Without a new head while another node has one (R10)."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    """What one node says; a refusal by the contract is an answer too."""

    node: Node
    value: T | Reverted

    def is_same(self, other: "_Answer[T]") -> bool:
        if isinstance(self.value, Reverted) and isinstance(other.value, Reverted):
            return self.value.reason == other.value.reason
        return bool(self.value == other.value)

    def unwrap(self) -> T:
        if isinstance(self.value, Reverted):
            raise self.value
        return self.value


class Nodes:
    """The nodes of one chain, in the order of preference."""

    def __init__(self, nodes: Sequence[Node], chain_id: int) -> None:
        self.all = tuple(nodes)
        self.chain_id = chain_id
        self._leaving: set[asyncio.Task[Any]] = set()

    @classmethod
    async def connect(cls, urls: Sequence[str]) -> "Nodes":
        """Ask every node for its chain id.

        BadInput if a URL is none, what answers is no Ethereum node, or they are on different chains; Transient if none
        answers. One that does not answer now must prove to be on the same chain when it does.
        """
        if not urls:
            raise BadInput("the chain needs the URL of at least one node")
        if len(set(urls)) < len(urls):
            raise BadInput("the same node is named twice, and two are to check each other")
        nodes: list[Node] = []
        async with AsyncExitStack() as on_failure:
            for index, url in enumerate(urls):
                nodes.append(Node(url, str(index)))
                on_failure.push_async_callback(nodes[-1].aclose)
            found = await asyncio.gather(*map(_introduce, nodes))
            by_id = {chain_id: node for node, chain_id in zip(nodes, found, strict=True) if isinstance(chain_id, int)}
            if len(by_id) > 1:
                places = " and ".join(f"{node.name} on {chain_id}" for chain_id, node in by_id.items())
                raise BadInput(f"the nodes are on different chains: {places}")
            if not by_id:
                raise next(error for error in found if isinstance(error, Transient))
            (chain_id,) = by_id
            for node in nodes:
                node.chain_id = chain_id
            on_failure.pop_all()
            return cls(nodes, chain_id)

    async def aclose(self) -> None:
        """Close all connections."""
        for task in self._leaving:
            task.cancel()
        for node in self.all:
            await node.aclose()

    async def ask(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """The answer of the healthiest node that gives one; what must not be repeated is asked once, of the first."""
        if method not in READ_METHODS:
            return await self._in_order()[0].ask(parse, method, *params)
        for attempt in range(READ_ATTEMPTS):
            for node in await self._ready():
                try:
                    return await node.ask(parse, method, *params)
                except Reverted:
                    raise
                except (Transient, Fatal) as error:
                    failure = error
                    if len(self.all) > 1:
                        RPC_FAILOVERS.inc()
                        log.warning("a node failed", node=node.name, method=method, attempt=attempt, error=str(error))
            if isinstance(failure, Fatal | AnswerTooLarge):
                break  # Asking again cannot help.
        raise failure

    async def agree(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """The answer, or the refusal by the contract, that two nodes give; Transient while there are no two."""
        if len(self.all) == 1:
            return await self.ask(parse, method, *params)
        for pause_s in (*DISAGREEMENT_PAUSES_S, None):
            answers = await self._answers(parse, method, params, lambda answers: _agreed(answers) is not None)
            if (agreed := _agreed(answers)) is not None:
                return agreed.unwrap()
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        first, second = answers[0].node.name, answers[1].node.name
        RPC_DISAGREEMENTS.inc()
        log.error("nodes disagree", nodes=[first, second], method=method, params=str(params)[:200])
        raise Transient(f"nodes {first} and {second} disagree about {method}")

    async def reached(self, parse: Callable[[Any], int], method: str, *params: Any) -> int:
        """The highest number that two nodes have reached: the lower of the first two that answer."""
        if len(self.all) == 1:
            return await self.ask(parse, method, *params)
        answers = await self._answers(parse, method, params, lambda answers: len(answers) == 2)
        return min(answer.unwrap() for answer in answers)

    async def refused(self, parse: Callable[[Any], Any], method: str, *params: Any) -> None:
        """Reverted if two nodes say that the contract refuses, and none that it does not."""
        if len(self.all) == 1:
            await self.ask(parse, method, *params)
            return
        answers = await self._answers(parse, method, params, lambda answers: not _are_refusals(answers), needed=1)
        if _are_refusals(answers):
            if len(answers) < 2:
                raise Transient(f"only {answers[0].node.name} says that the contract refuses")
            answers[0].unwrap()

    async def broadcast(self, raw: bytes) -> str | None:
        """Hand signed bytes to every node: None as soon as one took them, else the words of the first that has any."""
        pending = {asyncio.create_task(node.broadcast(raw)) for node in self.all}
        self._leaving |= pending
        for task in pending:
            task.add_done_callback(self._has_left)
        refusals: list[str] = []
        failures: list[TouchstoneError] = []
        while pending:
            # A node that never answers must not hold up what another one has refused.
            patience_s = LONGEST_WAIT_S if refusals else None
            done, pending = await asyncio.wait(pending, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                try:
                    words = task.result()
                except (Transient, Fatal) as error:
                    failures.append(error)
                    continue
                if words is None:
                    return None
                refusals.append(words)
        if refusals:
            return refusals[0]
        raise failures[0]

    async def compare_heads(self) -> None:
        """Ask every node how far it is, and mark those that stand still while another goes on (R10)."""
        numbers = await asyncio.gather(*(_head_number(node) for node in self.all))
        for node, number in zip(self.all, numbers, strict=True):
            if number is not None:
                node.note_head(number)
        if len(self.all) == 1:
            return
        too_old_s = asyncio.get_running_loop().time() - STALE_AFTER_S
        is_moving = any(node.head_moved_at_s > too_old_s for node in self.all)
        for node in self.all:
            was, node.is_out_of_sync = node.is_out_of_sync, is_moving and node.head_moved_at_s <= too_old_s
            if node.is_out_of_sync and not was:
                log.error("a node is out of sync", node=node.name, head=node.head_number)

    def _in_order(self) -> list[Node]:
        return sorted(self.all, key=lambda node: not node.is_healthy)

    async def _ready(self) -> list[Node]:
        """Those that do not rest, the healthiest first; if all do, the next that wakes up, when it does."""
        now_s = asyncio.get_running_loop().time()
        ready = [node for node in self._in_order() if node.rests_until_s <= now_s]
        if not ready:
            ready = [min(self.all, key=lambda node: node.rests_until_s)]
            await asyncio.sleep(ready[0].rests_until_s - now_s)
        return ready

    async def _answers(
        self,
        parse: Callable[[Any], T],
        method: str,
        params: tuple[Any, ...],
        are_enough: Callable[[list["_Answer[T]"]], bool],
        *,
        needed: int = 2,
    ) -> list["_Answer[T]"]:
        """What the nodes say, in the order of coming, until that is enough; Transient unless `needed` say anything."""
        tasks = {asyncio.create_task(self._ask_one(node, parse, method, params)): node for node in self.all}
        pending: set[asyncio.Task[T]] = set(tasks)
        answers: list[_Answer[T]] = []
        failures: list[TouchstoneError] = []
        try:
            while pending and not are_enough(answers):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=lambda task: tasks[task].label):
                    try:
                        answers.append(_Answer(tasks[task], task.result()))
                    except Reverted as refusal:
                        answers.append(_Answer(tasks[task], refusal))
                    except (Transient, Fatal) as error:
                        failures.append(error)
        finally:
            for task in pending:
                task.cancel()
        if len(answers) >= needed:
            return answers
        if too_large := next((error for error in failures if isinstance(error, AnswerTooLarge)), None):
            raise too_large
        if not answers and all(isinstance(error, Fatal) for error in failures):
            raise failures[0]
        raise Transient(f"{len(answers)} of {len(self.all)} nodes answer {method}, and {needed} must: {failures[0]}")

    async def _ask_one(self, node: Node, parse: Callable[[Any], T], method: str, params: tuple[Any, ...]) -> T:
        for _ in range(READ_ATTEMPTS):
            wait_s = node.rests_until_s - asyncio.get_running_loop().time()
            if wait_s > LONGEST_WAIT_S:
                raise ChainUnreachable(f"{node.name} has failed and is left alone for {wait_s:.0f} s")
            await asyncio.sleep(max(0, wait_s))
            try:
                return await node.ask(parse, method, *params)
            except AnswerTooLarge:
                raise
            except Transient as error:
                failure = error
        raise failure

    def _has_left(self, task: "asyncio.Task[Any]") -> None:
        self._leaving.discard(task)
        if not task.cancelled():
            task.exception()  # Heard, where nobody waits any more: the node's own account has it.


async def _introduce(node: Node) -> int | Transient:
    try:
        return await node.introduce()
    except Transient as error:
        return error


async def _head_number(node: Node) -> int | None:
    try:
        return await node.ask(lambda text: int(text, 16), "eth_blockNumber")
    except (Transient, Fatal):
        return None


def _agreed(answers: Sequence["_Answer[T]"]) -> "_Answer[T] | None":
    for place, answer in enumerate(answers):
        if any(answer.is_same(earlier) for earlier in answers[:place]):
            return answer
    return None


def _are_refusals(answers: Sequence["_Answer[Any]"]) -> bool:
    return all(isinstance(answer.value, Reverted) for answer in answers)
