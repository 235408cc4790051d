"""`touchstone validator status`: how everything stands, for people, for machines, and again and again."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from validator.amounts import describe_ether
from validator.customer.daemon import Place
from validator.terminal import describe_time, write_json

WATCH_INTERVAL_S = 2.0


async def run_status(*, place: Place, json_file: Path | None, is_watching: bool) -> None:
    """Ask the daemon; with `is_watching` until Ctrl-C. BadInput if none runs."""
    console = Console(highlight=False)
    async with place.control() as daemon:
        while True:
            status = await daemon.status()
            if json_file is not None:
                write_json(json_file, status)
            else:
                if is_watching:
                    console.clear()
                console.print(render_status(status))
            if not is_watching:
                return
            await asyncio.sleep(WATCH_INTERVAL_S)


def render_status(status: Mapping[str, Any]) -> Group:
    """Identity and money, then running tasks, transactions on their way, and what customers wait for."""
    waiting = [view for view in status["requests"] if view["stage"] == "queued"]
    health = status["health"]
    lines = [
        f"validator {status['validator']}, version {status['version']}",
        f"contract  {status['contract']} on chain {status['chain_id']}",
        f"health    {'ready' if health.get('is_ok') else f'not ready: {health}'}",
        *(f"{name:<10}{_amount(status['money'][f'{name}_wei'])}" for name in ("account", "credit", "bonds")),
        f"next task {status['waits_for'] or 'being planned'}",
        f"closed    {', '.join(f'{count} {outcome}' for outcome, count in status['closed'].items()) or 'none yet'}",
    ]
    if status["stopped"]:
        lines.insert(0, f"STOPPED: {status['stopped']}")
    lines += [f"REFUSED   {task['task_id']}: {task['refused']}" for task in status["tasks"] if task["refused"]]
    parts: list[Text | Table] = [Text("\n".join(lines))]
    if status["tasks"]:
        parts.append(
            _table("tasks", ("task", "phase", "deadline", "answered", "oldest effect", "miner"), _tasks(status))
        )
    if status["transactions"]:
        rows = [
            (str(sent["nonce"]), str(sent["state"]), str(len(sent["attempts"])), str(sent["effect"]))
            for sent in status["transactions"]
        ]
        parts.append(_table("transactions", ("nonce", "state", "attempts", "effect"), rows))
    if waiting:
        queue = [(view["request_id"], _amount(view["reward_wei"]), view["reason"]) for view in waiting]
        parts.append(_table("queue", ("request", "reward", "why"), queue))
    return Group(*parts)


def _tasks(status: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            task["task_id"],
            task["phase"],
            describe_time(task["deadline_s"]),
            f"{task['answered']} of {task['n']}",
            f"{task['oldest_effect']}, {task['oldest_effect_age_s']:.0f} s" if task["oldest_effect"] else "-",
            task["miner"],
        )
        for task in status["tasks"]
    ]


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _amount(amount_wei: int | None) -> str:
    return "unknown: the chain cannot be read now" if amount_wei is None else describe_ether(amount_wei)
