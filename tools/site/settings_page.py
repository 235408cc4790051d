"""Every setting of daemons, scenarios and tournaments with its default and meaning, read from the code.

`python tools/site/settings_page.py` writes the pages; a test holds them to the code.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from validator.config import DAY_S, DEV_CHAIN_IDS, HOUR_S, PROFILES, Durations
from validator.marks.planting import compute_min_rows
from validator.miner.settings import MinerDaemonSettings
from validator.plan.terms import (
    ANSWER_FEE_WEI,
    FEE_BPS,
    MAX_PROBES,
    MIN_PROBES,
    VALIDATOR_BOND_BPS,
    choose_thresholds,
    compute_availability_bond,
)
from validator.settings import Settings
from validator.simulation.scenario import Faults, Group, Scenario, Spec
from validator.tournament.grid import Grid, Part
from validator.types import Wei

DOCS = Path(__file__).parents[2] / "docs"
HEAD = """\
# Settings of a {who}

Written by `python tools/site/settings_page.py` from the code; `touchstone {who} init` writes the same into the
configuration. A variable of the environment is `TOUCHSTONE_<TABLE>__<KEY>`, such as `TOUCHSTONE_LOG__LEVEL`. Paths are
relative to the configuration.
"""
SIMULATION_HEAD = """\
# Scenarios and grids, key by key

Written by `python tools/site/settings_page.py` from the code. [Simulate dishonest miners](simulator.md) shows how they
are used. Both are TOML files, and paths in them are relative to the file.
"""
SIMULATION = {
    "A scenario": Scenario,
    "population.NAME": Group,
    "spec": Spec,
    "faults": Faults,
    "A grid": Grid,
    "parts": Part,
}
"""What each table of a scenario, and then of a grid, is read into."""
ETHER = 10**18


def render() -> dict[str, str]:
    """The text of each page, by its name."""
    return {
        "settings.md": "\n".join([HEAD.format(who="validator"), *_tables(Settings), *_network()]),
        "miner-settings.md": "\n".join([HEAD.format(who="miner"), *_tables(MinerDaemonSettings)]),
        "simulator-settings.md": "\n".join([SIMULATION_HEAD, *(_keys(*found) for found in SIMULATION.items())]),
    }


def _tables(settings: type[BaseModel]) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        yield _keys(name, cast(type[BaseModel], field.annotation))


def _keys(name: str, table: type[BaseModel]) -> str:
    rows = (
        (f"`{key}`", _default(found), " ".join((found.description or "").split()))
        for key, found in table.model_fields.items()
    )
    head = f"## {name}\n\n{(table.__doc__ or '').splitlines()[0]}\n\n"
    return head + _table(("key", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default is None or field.default_factory is not None or isinstance(field.default, BaseModel):
        return "-"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{json.dumps(value)}`"


def _network() -> Iterator[str]:
    yield "## What is no setting\n"
    yield (
        f"The protocol has these, and the daemon takes them from it. The fee is {FEE_BPS / 100:g}% of the reward; the "
        f"validator locks {VALIDATOR_BOND_BPS / 100:g}% of it and {ANSWER_FEE_WEI / ETHER:g} ether, the miner all of "
        f"it against a slash and {compute_availability_bond(Wei(ETHER)) * 100 / ETHER:g}% against silence. The profile "
        "`dev` is for the chain ids "
        f"{', '.join(map(str, sorted(DEV_CHAIN_IDS)))} alone.\n"
    )
    production, dev = PROFILES["production"], PROFILES["dev"]
    durations = ((field.name.removesuffix("_seconds"), field.name) for field in fields(Durations))
    rows = [
        (state, *(_duration(getattr(profile.durations, name)) for profile in (production, dev)))
        for state, name in durations
    ]
    rows.append(("unstaking", *(_duration(profile.unstake_delay_seconds) for profile in (production, dev))))
    yield _table(("time for", "production", "dev"), rows)
    tests = []
    for probes in (MIN_PROBES, 2 * MIN_PROBES, MAX_PROBES):
        found = choose_thresholds(probes, slashing=probes == MAX_PROBES)
        slashed = f"{found.k_slash} hits or fewer" if found.slashing else "never"
        tests.append((str(probes), f"{compute_min_rows(probes):,}", f"{found.k_pay} hits", slashed))
    yield _table(("probes", "rows, at least", "paid from", "slashed at"), tests)


def _duration(seconds: int) -> str:
    for unit, size in (("days", DAY_S), ("h", HOUR_S)):
        if seconds % size == 0 and seconds > size:
            return f"{seconds // size} {unit}"
    return f"{seconds // HOUR_S} h" if seconds == HOUR_S else f"{seconds} s"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    for page, text in render().items():
        (DOCS / page).write_text(text)
