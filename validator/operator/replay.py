"""`touchstone validator replay`: the story of one task, from the running daemon, or from its journal if none runs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from validator.control.client import NoDaemon
from validator.control.operations import tell_story
from validator.customer.daemon import Place
from validator.deployment.parameters import parse_hash
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.operator.wallet import load_master_seed, open_signer
from validator.settings import Settings
from validator.settings_file import load_settings
from validator.terminal import describe_time, make_console, write_json
from validator.types import TaskId


async def run_replay(*, task_id: str, config: Path, json_file: Path | None) -> None:
    """BadInput if neither daemon nor journal knows the task. A journal under a protective stop is read all the same."""
    wanted = TaskId(parse_hash(task_id))
    try:
        async with Place(config).control() as daemon:
            story = await daemon.story("0x" + wanted.hex())
    except NoDaemon:
        story = await _read_journal(load_settings(config), wanted)
    if json_file is not None:
        write_json(json_file, story)
        return
    console = make_console()
    for line in describe_story(story):
        console.print(line)


async def _read_journal(settings: Settings, task_id: TaskId) -> list[dict[str, Any]]:
    seed = await load_master_seed(settings.keys)
    async with open_signer(settings.keys) as signer:
        identity = Identity(settings.network.chain_id, settings.network.contract, signer.address)
    key = derive_journal_key(seed.reveal())
    journal = Journal(settings.state.journal_place, key, identity, despite_stop=True)
    try:
        return tell_story(journal, task_id)
    finally:
        journal.close()


def describe_story(story: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """One line for each event, then one for each effect that it asked for, and its transactions."""
    for entry in story:
        details = ", ".join(f"{name} {_short(value)}" for name, value in entry["details"].items())
        yield f"{describe_time(entry['at_s'])}  {entry['event']}  {details}".rstrip()
        for effect in entry["effects"]:
            done = f"done {describe_time(effect['done_at_s'])}" if effect["done_at_s"] else "not done"
            yield f"    {effect['effect']}: {done}"
            for sent in effect["transactions"]:
                yield f"        {sent['hash']} with nonce {sent['nonce']}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
