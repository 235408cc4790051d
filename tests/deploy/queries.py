"""What PromQL may name: the metrics, labels and label values that the code exports, read off the code."""

from collections.abc import Iterator
from typing import Any, get_args

import promql_parser
import yaml
from prometheus_client import Counter, Gauge, Histogram

from tests.deploy.tools import DEPLOY
from validator import telemetry
from validator.edges.broadcast_errors import Answer
from validator.edges.deadline_alarms import ALARM_SHARES
from validator.edges.rpc_node import READ_METHODS
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.state import Phase
from validator.protocol.verdict import Zone

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds to every series."""
OTHERS: dict[str, set[str]] = {
    "up": set(),
    "process_start_time_seconds": set(),
    "process_resident_memory_bytes": set(),
}
"""Prometheus' own, and what prometheus_client tells of its process."""
EFFECTS = {kind.__name__ for kind in get_args(Effect)}
VALUES: dict[tuple[str, str], set[str]] = {
    ("touchstone_tasks", "phase"): set(Phase),
    ("touchstone_verdicts_total", "zone"): set(Zone),
    ("touchstone_deadline_alarms_total", "share"): {str(share) for share in ALARM_SHARES},
    ("touchstone_transaction_answers_total", "answer"): {"accepted", *Answer},
    ("touchstone_effects_refused_total", "kind"): EFFECTS,
    ("touchstone_effects_in_flight", "kind"): EFFECTS,
    ("touchstone_effect_seconds_bucket", "kind"): EFFECTS,
    ("touchstone_effect_seconds_count", "kind"): EFFECTS,
    ("touchstone_events_total", "kind"): {kind.__name__ for kind in get_args(Event)},
    ("touchstone_rpc_requests_total", "method"): {*READ_METHODS, "eth_sendRawTransaction", "other"},
    ("touchstone_rpc_requests_total", "outcome"): {
        *("answered", "error", "busy", "unreachable", "nonsense", "cancelled")
    },
}
VARIABLES = {"$__rate_interval": "5m", "$instance": ".+"}
"""Grafana's, and what stands in for them here."""


def exported() -> dict[str, set[str]]:
    """Every metric by the name under which Prometheus has it, with its labels."""
    metrics = {name: set(labels) for name, labels in OTHERS.items()}
    for metric in vars(telemetry).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            name, labels = metric._name, set(metric._labelnames)  # no other place has them before the first series
            for suffix in {"counter": ["_total"], "gauge": [""], "histogram": ["_count", "_sum"]}[metric._type]:
                metrics[name + suffix] = labels
            if isinstance(metric, Histogram):
                metrics[f"{name}_bucket"] = {*labels, "le"}
    return metrics


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules" / f"{name}.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded(metrics: dict[str, set[str]]) -> dict[str, set[str]]:
    """What recording rules add; their labels are at most those of what they are made of."""
    known = dict(metrics)
    waiting = {rule["record"]: rule["expr"] for rule in rules("recording")}
    while waiting:
        ready = {name for name, query in waiting.items() if used(query).isdisjoint(waiting)}
        assert ready, f"{waiting.keys()} are made of each other"
        for name in ready:
            known[name] = {label for used_name in used(waiting.pop(name)) for label in known.get(used_name, ())}
    return known


def used(query: str) -> set[str]:
    """The metrics that a query names."""
    return {node.name for node in walk(promql_parser.parse(query)) if isinstance(node, promql_parser.VectorSelector)}


def mistakes(query: str, known: dict[str, set[str]]) -> list[str]:
    """What the query names that nobody exports."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    found = []
    for node in walk(promql_parser.parse(query)):
        if isinstance(node, promql_parser.VectorSelector):
            if node.name not in known:
                found.append(f"no metric {node.name}")
                continue
            for matcher in node.matchers.matchers:
                if matcher.name not in known[node.name] | SCRAPED:
                    found.append(f"{node.name} has no label {matcher.name}")
                values = VALUES.get((node.name, matcher.name), set())
                if values:
                    found += [
                        f"{node.name}: {matcher.name} is never {value}"
                        for value in matcher.value.split("|")
                        if value not in values
                    ]
        below = {label for name in _names(node) for label in known.get(name, ())} | SCRAPED
        found += [f"nothing here has a label {label}" for label in _grouped_by(node) if label not in below]
    return found


def walk(node: Any) -> Iterator[Any]:
    """The node and all below it."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from walk(child)
    for child in getattr(node, "args", None) or ():
        yield from walk(child)


def _names(node: Any) -> set[str]:
    return {each.name for each in walk(node) if isinstance(each, promql_parser.VectorSelector)}


def _grouped_by(node: Any) -> list[str]:
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql_parser.AggregateExpr):
        return list(modifier.labels) if modifier else []
    if isinstance(node, promql_parser.BinaryExpr) and modifier:
        return [*(modifier.matching.labels if modifier.matching else ()), *(modifier.group_labels or ())]
    return []
