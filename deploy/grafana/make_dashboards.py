"""The dashboards, as tables of panels: `python deploy/grafana/make_dashboards.py` writes `dashboards/*.json`.

Grafana reads the JSON, people read this. A test holds the two together, and every query to the metrics that exist.
How a panel is drawn stands first, then the panels of each dashboard, then how they are laid out; it is long because it
lists every panel, and each says in its last words what an operator learns from it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24
HERE = 'instance=~"$instance"'
ETHER = "/ 1e18"


@dataclass(frozen=True)
class Panel:
    """What is asked, and how it is drawn. `queries` are pairs of an expression and what its lines are called."""

    title: str
    queries: Sequence[tuple[str, str]]
    help: str
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    is_stacked: bool = False
    is_bars: bool = False
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),)
    """From which value on which colour."""

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" else 8

    def draw(self, number: int, x: int, y: int) -> dict[str, Any]:
        """As Grafana reads it."""
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": colour} for value, colour in self.steps],
            },
        }
        options: dict[str, Any]
        if self.kind == "stat":
            defaults["color"] = {"mode": "thresholds"}
            options = {
                "colorMode": "value",
                "graphMode": "area",
                "justifyMode": "auto",
                "orientation": "auto",
                "percentChangeColorMode": "standard",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "showPercentChange": False,
                "textMode": "auto",
                "wideLayout": True,
            }
        else:
            defaults["color"] = {"mode": "palette-classic"}
            defaults["custom"] = {
                "drawStyle": "bars" if self.is_bars else "line",
                "fillOpacity": 60 if self.is_bars else 30 if self.is_stacked else 0,
                "lineWidth": 1,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "line" if len(self.steps) > 1 else "off"},
            }
            options = {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.help,
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": [
                {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend}
                for place, (query, legend) in enumerate(self.queries)
            ],
        }


def stat(title: str, query: str, help: str, **choices: Any) -> Panel:  # noqa: A002 - the word that panels have
    """One figure of the present."""
    return Panel(title, [(query, "")], help, kind="stat", width=4, **choices)


def ours(metric: str, *matchers: str) -> str:
    """The metric of the validators that are chosen on the page."""
    return f"{metric}{{{','.join((HERE, *matchers))}}}"


def grown(metric: str, window: str, *matchers: str, by: str = "") -> str:
    """By how much a counter has grown, over all series or by one label."""
    return f"sum {f'by ({by}) ' if by else ''}(increase({ours(metric, *matchers)}[{window}]))"


def quantiles(metric: str, label: str, *matchers: str) -> list[tuple[str, str]]:
    """The median and the 90th percentile of a histogram of seconds, by one label."""
    rate = f"sum by ({label}, le) (rate({ours(f'{metric}_bucket', *matchers)}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {rate})", f"{{{{{label}}}}} p{q * 100:.0f}") for q in (0.5, 0.9)]


WAITS_FOR_MINERS = 'kind=~"DeliverDataset|LocateModel|SendProbe|RequestTranscript|FetchWeights"'
MILESTONES = 'kind=~"TaskAccepted|ModelSubmitted|TaskSettled|TaskClosed"'
PROBES, PAID = 'kind="SendProbe"', 'zone="paid"'
RUNNING, OPEN, ACCEPTED = 'phase!="closed"', 'phase="open"', 'phase="accepted"'
ALL_GOOD = ((None, "green"), (1, "red"))

MONEY = [
    stat("Equity", f"sum({ours('instance:touchstone_equity_wei:sum')}) {ETHER}", "Gas float, credit, bonds at work."),
    stat(
        "Profit, last day",
        f"sum({ours('instance:touchstone_profit_wei:increase1d')}) {ETHER}",
        "Fees less gas. Lost bonds are not in it: see whether equity falls faster.",
        steps=((None, "red"), (0, "green")),
    ),
    stat("Fees, last day", f"sum({ours('instance:touchstone_fees_earned_wei:increase1d')}) {ETHER}", "Of settlements."),
    stat("Gas, last day", f"sum({ours('instance:touchstone_gas_spent_wei:increase1d')}) {ETHER}", "Failed ones too."),
    stat(
        "Gas lasts",
        f"min({ours('instance:touchstone_gas_float:days')})",
        "Days, at the last day's spending; nothing while nothing is spent.",
        unit="d",
        steps=((None, "red"), (3, "orange"), (7, "green")),
    ),
    stat(
        "Credit for more bonds",
        f"min({ours('instance:touchstone_credit:bonds')})",
        "How many bonds of the size of those at work the credit pays; under 1 no task is begun.",
        steps=((None, "red"), (1, "orange"), (3, "green")),
    ),
    Panel(
        "Where the money is",
        [
            (f"{ours('touchstone_balance_wei')} {ETHER}", "gas float {{instance}}"),
            (f"{ours('touchstone_credit_wei')} {ETHER}", "credit {{instance}}"),
            (f"{ours('touchstone_bonds_locked_wei')} {ETHER}", "bonds at work {{instance}}"),
        ],
        "In ether. The sum falls by gas, sweeps and lost bonds, and by nothing else.",
        is_stacked=True,
    ),
    Panel(
        "Fees and gas by the day",
        [
            (f"{ours('instance:touchstone_fees_earned_wei:increase1d')} {ETHER}", "fees {{instance}}"),
            (f"{ours('instance:touchstone_gas_spent_wei:increase1d')} {ETHER}", "gas {{instance}}"),
        ],
        "In ether, over the day before each point. Gas over fees is a loss.",
    ),
    Panel(
        "Verdicts by the day",
        [(grown("touchstone_verdicts_total", "1d", by="zone"), "{{zone}}")],
        "Final settlements over the day before each point.",
        is_stacked=True,
        is_bars=True,
    ),
    Panel(
        "Hits of settled tasks",
        [
            (
                f"histogram_quantile({q}, sum by (le) (increase({ours('touchstone_hits_bucket')}[1d])))",
                f"p{q * 100:.0f}",
            )
            for q in (0.1, 0.5, 0.9)
        ],
        "Of 64 marked rows, or as many as a task has. Honest miners are near all, others near none.",
    ),
]

TASKS = [
    stat("Tasks that run", f"sum({ours('instance:touchstone_tasks_running:sum')})", "Each has a bond of ours at work."),
    stat(
        "Oldest effect",
        f"max({ours('touchstone_oldest_effect_seconds')})",
        "Of what only we and the chain have to do. Finality takes a quarter of an hour.",
        unit="s",
        steps=((None, "green"), (1800, "orange"), (3600, "red")),
    ),
    stat(
        "Late transactions, last day",
        grown("touchstone_deadline_alarms_total", "1d", 'share="75"'),
        "Not mined when three quarters of their time were gone.",
        steps=ALL_GOOD,
    ),
    stat(
        "Refused by the contract, last day",
        grown("touchstone_effects_refused_total", "1d"),
        "What it should have taken.",
        steps=ALL_GOOD,
    ),
    stat(
        "Requests that wait",
        f"sum({ours('touchstone_requests_waiting')})",
        "For a miner or a free place; `touchstone task list` says for which.",
    ),
    stat(
        "Next deadline in",
        f"min({ours('touchstone_nearest_deadline_timestamp_seconds')}) - time()",
        "Of any task, whoever has to act: the miner's may pass, ours must not.",
        unit="s",
    ),
    stat("Evidence missing", f"sum({ours('touchstone_bundles_missing')})", "Restore it from a backup.", steps=ALL_GOOD),
    stat(
        "Disk left",
        f"min({ours('touchstone_disk_free_bytes')})",
        "Of the state directory; under 288 MiB new tasks wait.",
        unit="bytes",
        steps=((None, "red"), (1e9, "orange"), (1e10, "green")),
    ),
    Panel(
        "Tasks by phase",
        [(f"sum by (phase) ({ours('touchstone_tasks', RUNNING)})", "{{phase}}")],
        "Open and accepted wait for the miner; submitted for us.",
        is_stacked=True,
    ),
    Panel(
        "Age of the oldest effect and transaction",
        [
            (f"max({ours('touchstone_oldest_effect_seconds')})", "effect"),
            (f"max({ours('touchstone_oldest_transaction_seconds')})", "transaction"),
        ],
        "Over an hour somebody is woken.",
        unit="s",
        steps=((None, "green"), (3600, "red")),
    ),
    Panel(
        "Deadline alarms by the hour",
        [(grown("touchstone_deadline_alarms_total", "1h", by="share"), "{{share}}% gone")],
        "Transactions that were not mined when so much of their time was gone.",
        is_bars=True,
    ),
    Panel(
        "Effects that are not done",
        [(f"sum by (kind) ({ours('touchstone_effects_in_flight')})", "{{kind}}")],
        "What waits for a miner, a node or a block.",
        is_stacked=True,
    ),
    Panel(
        "Time to carry an effect out, p90",
        [(f"max by (kind) ({ours('instance_kind:touchstone_effect_seconds:p90_1h')})", "{{kind}}")],
        "Retries included, over the hour before each point.",
        unit="s",
    ),
    Panel(
        "Events by the hour",
        [(grown("touchstone_events_total", "1h", by="kind"), "{{kind}}")],
        "What changed a task.",
        is_stacked=True,
        is_bars=True,
    ),
    Panel(
        "Lag of the event loop, p99.9",
        [(f"max by (instance) ({ours('touchstone_event_loop_lag_p999_seconds')})", "{{instance}}")],
        "Over ten minutes. Every miner and every deadline waits for as long.",
        unit="s",
        steps=((None, "green"), (1, "red")),
    ),
    Panel(
        "Process",
        [
            (ours("process_resident_memory_bytes", 'job="touchstone-validator"'), "memory {{instance}}"),
        ],
        "Resident memory, without the children that do model work.",
        unit="bytes",
    ),
]

CHAIN = [
    stat(
        "Healthy nodes",
        f"min(sum by (instance) ({ours('touchstone_rpc_node_healthy')}))",
        "Two must agree where several are configured.",
        steps=((None, "red"), (1, "orange"), (2, "green")),
    ),
    stat("Final block", f"max({ours('touchstone_chain_final_block')})", "The newest that was taken for final."),
    stat(
        "Disagreements, last day",
        grown("touchstone_rpc_disagreements_total", "1d"),
        "Answers on which no two nodes agreed.",
        steps=ALL_GOOD,
    ),
    stat(
        "Transactions in flight",
        f"sum({ours('touchstone_transactions_in_flight')})",
        "Nonces sent and not yet final; no more than 16 wait to be mined.",
    ),
    stat(
        "Fees at the cap, last day",
        grown("touchstone_transactions_capped_total", "1d"),
        "Transactions that may offer no more.",
        steps=((None, "green"), (1, "orange")),
    ),
    stat(
        "Events missed, last day",
        grown("touchstone_chain_events_missed_total", "1d"),
        "That came only when they were asked for again.",
        steps=((None, "green"), (1, "orange")),
    ),
    Panel(
        "Nodes that are healthy",
        [(f"min by (node) ({ours('touchstone_rpc_node_healthy')})", "node {{node}}")],
        "1 answers and keeps up; numbered from 0 in the order of network.rpc_urls.",
    ),
    Panel(
        "Final blocks by the minute",
        [(f"sum by (instance) (rate({ours('touchstone_chain_final_block')}[10m])) * 60", "{{instance}}")],
        "As the chain makes them; 0 for half an hour wakes somebody.",
    ),
    Panel(
        "Requests by what became of them",
        [(f"sum by (outcome) (rate({ours('touchstone_rpc_requests_total')}[$__rate_interval]))", "{{outcome}}")],
        "Each second. An error is an answer; busy, unreachable and nonsense are none.",
        unit="reqps",
        is_stacked=True,
    ),
    Panel(
        "Share of requests that failed",
        [(f"max by (node) ({ours('instance_node:touchstone_rpc_failed:ratio_rate5m')})", "node {{node}}")],
        "By node, over five minutes.",
        unit="percentunit",
    ),
    Panel(
        "Requests by method",
        [(f"sum by (method) (rate({ours('touchstone_rpc_requests_total')}[$__rate_interval]))", "{{method}}")],
        "Each second; what a provider's quota is used up by.",
        unit="reqps",
    ),
    Panel(
        "Time that nodes take, p99",
        [(f"max by (node) ({ours('instance_node:touchstone_rpc_seconds:p99_5m')})", "node {{node}}")],
        "To answer or fail.",
        unit="s",
    ),
    Panel(
        "Transactions by the hour",
        [
            (grown(f"touchstone_{name}_total", "1h"), legend)
            for name, legend in (
                ("transaction_attempts", "signed"),
                ("transactions_replaced", "sent again at a higher fee"),
                ("transactions_capped", "at the cap"),
                ("transactions_reorged", "taken away by a reorganisation"),
            )
        ],
        "Many more signed than tasks need: gas is rising, or a node takes nothing.",
    ),
    Panel(
        "What nodes say to transactions, by the hour",
        [(grown("touchstone_transaction_answers_total", "1h", by="answer"), "{{answer}}")],
        "Accepted is as it should be; insufficient funds asks for ether.",
        is_stacked=True,
        is_bars=True,
    ),
    Panel(
        "Reads that another node had to answer, by the hour",
        [(grown("touchstone_rpc_failovers_total", "1h", by="instance"), "{{instance}}")],
        "Because the first one failed.",
        is_bars=True,
    ),
]

MINERS = [
    stat(
        "Paid, last week",
        f"{grown('touchstone_verdicts_total', '7d', PAID)} / {grown('touchstone_verdicts_total', '7d')}",
        "Share of the settled tasks.",
        unit="percentunit",
    ),
    stat(
        "Slashed, last week",
        grown("touchstone_verdicts_total", "7d", 'zone="slashed"'),
        "Tasks whose miner lost its bond.",
    ),
    stat(
        "Faults, last day",
        grown("touchstone_miner_faults_total", "1d"),
        "Times that a miner broke the protocol over HTTP.",
    ),
    stat(
        "Probes each second",
        f"sum(rate({ours('touchstone_effect_seconds_count', PROBES)}[$__rate_interval]))",
        "Answered, or given up.",
    ),
    stat(
        "Not accepted yet",
        f"sum({ours('touchstone_tasks', OPEN)})",
        "Tasks that wait for a miner to accept.",
    ),
    stat(
        "In training",
        f"sum({ours('touchstone_tasks', ACCEPTED)})",
        "Tasks whose miner has accepted and has not submitted.",
    ),
    Panel(
        "Time that miners take",
        quantiles("touchstone_effect_seconds", "kind", WAITS_FOR_MINERS),
        "To take a dataset, to answer a probe, to sign, to hand weights out; retries included.",
        unit="s",
    ),
    Panel(
        "Waiting for miners",
        [(f"sum by (kind) ({ours('touchstone_effects_in_flight', WAITS_FOR_MINERS)})", "{{kind}}")],
        "Requests that are not answered yet. A miner that is silent is asked again until its deadline.",
        is_stacked=True,
    ),
    Panel(
        "Faults by the hour",
        [(grown("touchstone_miner_faults_total", "1h", by="instance"), "{{instance}}")],
        "One miner's, or all of them? The log names the miner of each.",
        is_bars=True,
    ),
    Panel(
        "What became of miners' tasks, by the day",
        [
            (
                grown("touchstone_events_total", "1d", MILESTONES, by="kind"),
                "{{kind}}",
            )
        ],
        "More accepted than submitted: miners give up. More closed than settled: deadlines ended tasks.",
    ),
]

DASHBOARDS = {
    "money": ("Touchstone: money and verdicts", MONEY),
    "tasks": ("Touchstone: tasks and deadlines", TASKS),
    "chain": ("Touchstone: chain and nodes", CHAIN),
    "miners": ("Touchstone: miners", MINERS),
}


def _place(panels: Sequence[Panel]) -> Iterator[tuple[Panel, int, int]]:
    """From left to right, in rows as high as their highest."""
    x = y = row_height = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, row_height = 0, y + row_height, 0
        yield panel, x, y
        x, row_height = x + panel.width, max(row_height, panel.height)


def make_dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"touchstone-{name}",
        "title": title,
        "tags": ["touchstone"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "Touchstone",
                "tags": ["touchstone"],
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
            }
        ],
        "templating": {
            "list": [
                {
                    "type": "query",
                    "name": "instance",
                    "label": "Validator",
                    "datasource": SOURCE,
                    "query": "label_values(touchstone_build_info, instance)",
                    "includeAll": True,
                    "allValue": ".+",
                    "multi": True,
                    "refresh": 2,
                    "current": {"text": "All", "value": "$__all"},
                }
            ]
        },
        "panels": [panel.draw(number, x, y) for number, (panel, x, y) in enumerate(_place(panels), 1)],
    }


def to_text(dashboard: dict[str, Any]) -> str:
    return json.dumps(dashboard, indent=2) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(to_text(make_dashboard(name)))
