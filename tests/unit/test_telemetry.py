"""Metrics: names that say the unit, few and bounded labels, and something for every stage (complaint 5)."""

import re

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from validator import telemetry

METRICS = {name: each for name, each in vars(telemetry).items() if isinstance(each, MetricWrapperBase)}
UNITS = ("seconds", "wei", "bytes")
BOUNDED = {"kind", "phase", "zone", "answer", "node", "method", "outcome", "share", "version", "python", "chain_id"}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_named_after_what_it_is_in_code_and_says_its_unit(name: str):
    metric = METRICS[name]
    assert metric._name == f"touchstone_{name.lower()}".replace("event_loop_", "").replace("loop_lag", "event_loop_lag")
    assert metric._documentation.endswith(".")
    if re.search("lag|age|duration", name.lower()):
        assert metric._name.endswith(UNITS)


@pytest.mark.parametrize("name", METRICS)
def test_no_label_holds_what_strangers_or_tasks_choose(name: str):
    """A label for every task or miner would grow without end, and show which task stands how (invariant 6)."""
    assert set(METRICS[name]._labelnames) <= BOUNDED


def test_every_stage_has_its_metric():
    names = {metric.name for metric in REGISTRY.collect()}
    stages = "tasks events effects_in_flight oldest_effect_seconds verdicts hits miner_faults"
    money = "gas_spent_wei fees_earned_wei bonds_locked_wei credit_wei balance_wei transactions_in_flight"
    machine = "event_loop_lag_seconds disk_free_bytes log_lines_dropped bundles_missing build_info rpc_requests"
    assert {f"touchstone_{name}" for name in f"{stages} {money} {machine}".split()} <= names
