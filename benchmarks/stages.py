"""Where a round's seconds go, from what it has recorded anyway: the report's clock, and the times in the journal.

The tasks of a round overlap. A stage of theirs ends when the last task has left it, so the stages add up to the round.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

from validator.edges.keys import derive_signer
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.protocol.events import (
    BundleWritten,
    Event,
    ModelLocated,
    ModelSubmitted,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskPlanned,
    TranscriptSigned,
)
from validator.types import Address, TaskId

START = "start and end of the processes"
MILESTONES: dict[str, tuple[type[Event], ...]] = {
    "planned": (TaskPlanned,),
    "opening": (TaskOpened,),
    "delivery, until accepted": (TaskAccepted,),
    "training, until submitted": (ModelSubmitted, ModelLocated),
    "probing, until signed": (TranscriptSigned,),
    "judging, until the evidence is on disk": (BundleWritten,),
    "settlement, until closed": (TaskClosed,),
}
"""Each stage of the tasks by what a task leaves it with."""


def measure_stages(directory: Path, report: dict[str, Any], wall_s: float) -> dict[str, float]:
    """Seconds of each stage of the run whose files these are, in order; together they are `wall_s`."""
    seconds: dict[str, float] = report["seconds"]
    of_tasks = _stages_of_tasks(directory, report)
    stages = {
        "chain and contract": seconds["chain"],
        "planting, and the miners' start": seconds["planting and miners"],
        **of_tasks,
        "withdrawals": seconds["withdrawals"],
    }
    return stages | {START: wall_s - sum(stages.values())}


def _stages_of_tasks(directory: Path, report: dict[str, Any]) -> dict[str, float]:
    master_seed = int(report["seed"]).to_bytes(32, "big", signed=True)
    identity = Identity(
        report["chain_id"], Address(report["contract"]), derive_signer(master_seed, "validator").address
    )
    journal = Journal(directory / "journal.sqlite", derive_journal_key(master_seed), identity)
    tasks = [TaskId(bytes.fromhex(miner["task_id"].removeprefix("0x"))) for miner in report["miners"]]
    stories = [story for task_id in tasks for story in journal.story(task_id)]
    journal.close()
    ends: dict[str, float] = {}
    latest = 0.0
    for stage, kinds in MILESTONES.items():
        # A task that never comes so far holds up no stage.
        latest = max([latest, *(story.recorded_at_s for story in stories if isinstance(story.event, kinds))])
        ends[stage] = latest
    return {stage: end - begin for (_, begin), (stage, end) in pairwise(ends.items())}
