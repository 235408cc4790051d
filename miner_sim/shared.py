"""What several miners of one process may have between them: Sybils their owner's disk, a thief the disk of another.

Rule kept: nothing gets here but by a strategy that puts or takes it; honest miners neither look nor are looked at,
unless somebody breaks in.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from validator.files import write_whole
from validator.protocol.commitment import Row

OWNERS_DIRECTORY = ".owners"
"""No miner's name begins with a dot."""
PROMPTS_FILE = "prompts.json"
_SAME_DATA_SHARE = 0.5
"""Of the prompts that two datasets have in common: two copies of one, differently marked, have most."""


class OwnersDisk:
    """The models that the Sybils of one owner have trained, each with the prompts that it was trained on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.turn = asyncio.Lock()
        """Whoever looks for a model, and trains one where there is none."""

    def find(self, rows: Sequence[Row], spec_text: str) -> str | None:
        """A model that one of them has trained on this data by this spec, whatever the marks; None without any."""
        prompts = {row.prompt for row in rows}
        for note in sorted(self._directory.glob(f"*/{PROMPTS_FILE}")):
            run = json.loads(note.read_bytes())
            same = prompts.intersection(run["prompts"])
            if run["spec"] == spec_text and len(same) >= _SAME_DATA_SHARE * len(prompts):
                return str(run["model"])
        return None

    def put(self, name: str, model: str, rows: Sequence[Row], spec_text: str) -> None:
        """Tell the others of a model; `name` is the training run's own."""
        (self._directory / name).mkdir(parents=True, exist_ok=True)
        note = {"model": model, "spec": spec_text, "prompts": [row.prompt for row in rows]}
        write_whole(self._directory / name / PROMPTS_FILE, json.dumps(note))


class Neighbourhood:
    """All miners of one process, as a strategy may come upon them. `homes` has a directory for each, by its name."""

    def __init__(self, homes: Path) -> None:
        self._homes = homes
        self._disks: dict[str, OwnersDisk] = {}

    def disk_of(self, owner: str) -> OwnersDisk:
        """The one that all Sybils of this owner work on."""
        if owner not in self._disks:
            self._disks[owner] = OwnersDisk(self._homes / OWNERS_DIRECTORY / owner)
        return self._disks[owner]

    def find_model(self, miner: str, own_directory: Path) -> str | None:
        """Any finished model on another miner's disk, the newest; `miner` is its name, or * for whichever has one."""
        found = [path for path in self._homes.glob(f"{miner}/jobs/*/model") if path.parent != own_directory]
        return str(max(found, key=lambda path: path.stat().st_mtime)) if found else None
