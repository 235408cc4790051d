"""What the operator of a running validator is told: how everything stands, and what happened to one task.

Rule kept: nothing that shows a mark of an unsettled task leaves through here: of an answer, only that it came.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from validator.edges.contract import Touchstone
from validator.errors import BadInput, Transient
from validator.journal import Journal
from validator.journal.codec import SignedTransaction
from validator.journal.journal import EventStory
from validator.protocol.events import Event, ProbeAnswered, TaskPlanned, TaskSettled, WeightsProbed
from validator.protocol.state import Phase, TaskState
from validator.requests.desk import CHAIN_PATIENCE_S
from validator.requests.view import describe_task
from validator.types import Address, EffectKey, TaskId

SECRET_UNTIL_SETTLED: dict[type[Any], str] = {ProbeAnswered: "text", WeightsProbed: "replies"}
ON_CHAIN = ("terms", "order", "order_signature")
"""Fields of a plan that are too long for a story, and can be had elsewhere."""


class Operations:
    """Reads a running validator. `health` says what `/readyz` says.

    `running` are the effects that are being carried out, since when in the loop's time; `refusals` what the contract
    says against some of them; `waits_for` why no further task is planned now.
    """

    def __init__(
        self,
        *,
        contract: Touchstone,
        validator: Address,
        journal: Journal,
        states: Callable[[], Mapping[TaskId, TaskState]],
        running: Callable[[], Mapping[EffectKey, float]],
        refusals: Callable[[], Mapping[EffectKey, str]],
        waits_for: Callable[[], str],
        health: Callable[[], Mapping[str, Any]],
        version: str,
    ) -> None:
        self._contract = contract
        self._validator = validator
        self._journal = journal
        self._states = states
        self._running = running
        self._refusals = refusals
        self._waits_for = waits_for
        self._health = health
        self._version = version

    async def status(self) -> dict[str, Any]:
        """Identity, health, money, running tasks and transactions on their way, as JSON."""
        running = [state for state in self._states().values() if state.phase is not Phase.CLOSED]
        return {
            "version": self._version,
            "validator": self._validator,
            "contract": self._contract.address,
            "chain_id": self._contract.chain.chain_id,
            "now_s": time.time(),
            "health": dict(self._health()),
            "stopped": self._journal.stop_reason,
            "money": await self._money(running),
            "waits_for": self._waits_for(),
            "tasks": self._describe_tasks(running),
            "closed": _count(state.outcome for state in self._states().values() if state.outcome is not None),
            "transactions": [
                {
                    "nonce": outgoing.nonce,
                    "effect": outgoing.effect_key,
                    "state": outgoing.state,
                    "attempts": [_describe_transaction(attempt) for attempt in outgoing.attempts],
                }
                for outgoing in self._journal.transactions.unfinished()
            ],
        }

    def story(self, task_id: TaskId) -> list[dict[str, Any]]:
        """What happened to a task and what was done about it, oldest first; BadInput if it is unknown."""
        return tell_story(self._journal, task_id)

    async def _money(self, running: Iterable[TaskState]) -> dict[str, Any]:
        """Wei on the account, in the contract and in bonds; None where the chain cannot be read now."""
        locked = sum(state.terms.validator_bond for state in running if state.phase is not Phase.PLANNED)
        try:
            async with asyncio.timeout(CHAIN_PATIENCE_S):
                account = await self._contract.chain.balance_wei(self._validator)
                credit = await self._contract.credits_wei(self._validator)
        except (Transient, TimeoutError):
            return {"account_wei": None, "credit_wei": None, "bonds_wei": locked}
        return {"account_wei": account, "credit_wei": credit, "bonds_wei": locked}

    def _describe_tasks(self, running: Sequence[TaskState]) -> list[dict[str, Any]]:
        now_s = asyncio.get_running_loop().time()
        oldest: dict[str, tuple[float | None, str | None]] = {}
        for key, since_s in sorted(self._running().items(), key=lambda item: item[1]):
            task_id, _slash, name = key.partition("/")
            oldest.setdefault(task_id, (round(now_s - since_s, 1), name))
        refused = {key.partition("/")[0]: reason for key, reason in self._refusals().items()}
        tasks = []
        for state in running:
            task = describe_task(state)
            age_s, effect = oldest.get(task["task_id"], (None, None))
            about = {"payer": state.terms.payer, "refused": refused.get(task["task_id"])}
            tasks.append(task | about | {"oldest_effect": effect, "oldest_effect_age_s": age_s})
        return tasks


def tell_story(journal: Journal, task_id: TaskId) -> list[dict[str, Any]]:
    """The journal's account of one task, as JSON; BadInput if it is unknown."""
    stories = journal.story(task_id)
    if not stories:
        raise BadInput(f"the journal knows no task 0x{task_id.hex()}")
    is_settled = any(isinstance(story.event, TaskSettled) for story in stories)
    return [_describe_event(story, is_settled) for story in stories]


def _describe_event(story: EventStory, is_settled: bool) -> dict[str, Any]:
    return {
        "sequence": story.sequence,
        "at_s": story.recorded_at_s,
        "event": type(story.event).__name__,
        "details": _describe_details(story.event, is_settled),
        "effects": [
            {
                "effect": effect.effect.key.partition("/")[2],
                "done_at_s": effect.done_at_s,
                "transactions": [_describe_transaction(attempt) for attempt in effect.attempts],
            }
            for effect in story.effects
        ],
    }


def _describe_details(event: Event, is_settled: bool) -> dict[str, Any]:
    secret = () if is_settled else (SECRET_UNTIL_SETTLED.get(type(event)),)
    details = {
        name: _plain(value) for name, value in asdict(event).items() if name not in ("task_id", *ON_CHAIN, *secret)
    }
    if isinstance(event, TaskPlanned):
        details |= {"miner": event.terms.miner, "reward_wei": event.terms.reward, "n": event.terms.n}
    return details


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _describe_transaction(attempt: SignedTransaction) -> dict[str, Any]:
    return {
        "hash": "0x" + attempt.tx_hash.hex(),
        "nonce": attempt.nonce,
        "max_fee_per_gas_wei": attempt.max_fee_per_gas_wei,
    }


def _count(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
