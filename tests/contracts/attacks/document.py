"""The generated part of `docs/threat-model.md`: the residuals, all scripts as tables, the gas of each step."""

from pathlib import Path

from contracts import TaskState
from tests.contracts.attacks import ATTACKS, SUITES, gas
from tests.contracts.attacks.amounts import PARTIES
from tests.contracts.attacks.registry import NOT_SCRIPTED, Attack
from tests.contracts.attacks.residuals import Residual
from tests.contracts.rounds import MINER, NO_HASH, PAYER, VALIDATOR
from validator.config import Durations
from validator.plan.terms import build_terms, choose_thresholds
from validator.protocol.commitment import Terms
from validator.types import Wei

DOCUMENT = Path(__file__).parents[3] / "docs" / "threat-model.md"
BEGIN = "<!-- scripts: begin, written by `python -m tests.contracts.attacks` -->\n"
END = "<!-- scripts: end -->\n"


def default_terms(reward_wei: int) -> Terms:
    """What a validator opens by default for this reward; only the amounts matter here."""
    return build_terms(
        payer=PAYER.address,
        validator=VALIDATOR.address,
        miner=MINER.address,
        miner_epoch=1,
        reward_wei=Wei(reward_wei),
        thresholds=choose_thresholds(64, slashing=True),
        scheme="canary",
        w=4,
        max_tokens=32,
        dataset_root=NO_HASH,
        commitment=NO_HASH,
        spec_hash=NO_HASH,
        durations=Durations(
            accept_seconds=1,
            train_seconds=1,
            submitted_seconds=1,
            challenged_seconds=1,
            answered_seconds=1,
            judging_seconds=1,
            dispute_seconds=1,
        ),
    )


DEFAULTS = default_terms(10**18)


def render() -> str:
    residuals = list(dict.fromkeys(attack.residual for attack in ATTACKS if attack.residual))
    not_scripted = "".join(f"- {row}: {why}\n" for row, why in NOT_SCRIPTED.items())
    return "\n".join(
        [
            "## What the scripts show to be possible\n",
            *(_render_residual(residual) for residual in residuals),
            "## All scripts\n",
            *(_render_suite(title, module.__name__) for title, module in SUITES.items()),
            f"### Rows of the catalogue without a script\n\n{not_scripted}",
            gas.render(),
        ]
    )


def with_generated(document: str) -> str:
    """The document with its generated part anew; ValueError if a marker is missing."""
    head, rest = document.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + "\n" + render() + "\n" + END + tail


def _render_residual(residual: Residual) -> str:
    lines = [
        f"### {residual.title}\n",
        f"{' '.join(residual.text.split())}\n",
        "| attack | attackers gain | others |",
        "|---|---|---|",
    ]
    lines += (
        f"| {attack.name.removesuffix('.')} | {_attackers(attack)} | {_others(attack)} |"
        for attack in ATTACKS
        if attack.residual is residual
    )
    return "\n".join(lines) + "\n"


def _render_suite(title: str, module: str) -> str:
    lines = [
        f"### {title}\n",
        "| attack | rows | refused | outcome (honest) | attackers gain | others | burned |",
        "|---|---|---|---|---|---|---|",
    ]
    for attack in (attack for attack in ATTACKS if attack.script.__module__ == module):
        cells = (
            attack.name.removesuffix(".") + (" **(residual)**" if attack.residual else ""),
            ", ".join(attack.rows),
            "; ".join(f"`{reason}`" if reason else "no reason" for reason in attack.refused) or "-",
            _outcome(attack),
            _attackers(attack),
            _others(attack),
            str(attack.profit.burned),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _outcome(attack: Attack) -> str:
    """As `slashed (declined)`; the second only where it differs."""
    if not attack.ends:
        return "no task"
    ends = ", ".join(dict.fromkeys(_state(state) for state in attack.ends))
    honest = ", ".join(
        "declined" if state is TaskState.OPEN_LAPSED else _state(state) for state in dict.fromkeys(attack.honest)
    )
    return ends if attack.ends == attack.honest else f"{ends} ({honest})"


def _state(state: TaskState) -> str:
    return state.name.lower().replace("_", " ")


def _attackers(attack: Attack) -> str:
    """As `validator, payer: R - V (-0.252)`."""
    gain = attack.attackers_profit
    share = f" ({gain.wei(DEFAULTS) / DEFAULTS.reward:+.3g})" if gain else ""
    return f"{', '.join(attack.by)}: {gain}{share}"


def _others(attack: Attack) -> str:
    """What each party gains that is neither an attacker nor played by one."""
    others = [party for party in PARTIES if party not in attack.by and attack.profit.of(party)]
    return ", ".join(f"{party} {attack.profit.of(party)}" for party in others) or "-"
