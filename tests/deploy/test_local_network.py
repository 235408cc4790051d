"""The local network of the compose file, and a real Prometheus that watches its validator."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.deploy.local_network import LocalNetwork, running_network
from tests.deploy.queries import VARIABLES, exported, rules
from tests.deploy.tools import DEPLOY
from validator.edges.chain import Chain
from validator.edges.contract import Touchstone
from validator.edges.keys import dev_mnemonic_signer
from validator.settings_file import load_settings

MINERS = (3, 4)
"""Their accounts, in deploy/local/accounts.py."""
IDLE = {"touchstone_effect_seconds_bucket", "touchstone_effect_seconds_count", "touchstone_effect_seconds_sum"} | {
    *("touchstone_effects_in_flight", "touchstone_events_total")
}
"""Have a series once there was a task."""


async def assert_watched(network: LocalNetwork) -> None:
    """Every metric that the code exports is there, every rule works, and so does every query of every dashboard."""
    await network.wait_for('up{job="touchstone-validator"} == 1')
    await network.wait_for("touchstone_chain_final_block > 0 and touchstone_credit_wei > 0")
    await network.wait_for("instance:touchstone_equity_wei:sum > 0")
    seen = set(await network.query("label/__name__/values"))
    assert exported().keys() - IDLE <= seen
    assert {name for name in seen if name.startswith("touchstone_")} <= exported().keys() | {
        f"{name.removesuffix('_total').removesuffix('_bucket')}_created" for name in exported()
    }

    evaluated = [rule for group in (await network.query("rules"))["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in evaluated} == {
        rule.get("alert", rule.get("record")) for name in ("recording", "alerts") for rule in rules(name)
    }
    assert {rule["name"]: rule["lastError"] for rule in evaluated if rule["health"] == "err"} == {}
    assert (await network.query("query", query='ALERTS{alertstate="firing"}'))["result"] == []

    empty = []
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"]
                for variable, value in VARIABLES.items():
                    query = query.replace(variable, value)
                if not (await network.query("query", query=query))["result"]:
                    empty.append(panel["title"])
    # What there is to see of a validator without a task. Recorded once a minute, or of what has happened.
    assert {"Tasks by phase", "Where the money is", "Nodes that are healthy", "Final block", "Disk left"}.isdisjoint(
        empty
    )


async def assert_registered(network: LocalNetwork) -> None:
    settings = load_settings(DEPLOY / "config" / "local.toml")
    chain = await Chain.connect(network.chain_url)
    try:
        contract = await Touchstone.at(chain, settings.network.contract)
        async with asyncio.timeout(60):
            for account in MINERS:
                while (await contract.miner(dev_mnemonic_signer(account).address)).stake == 0:
                    assert network.processes["miners"].returncode is None, network.log("miners")
                    await asyncio.sleep(0.25)
    finally:
        await chain.aclose()


async def test_the_network_comes_up_and_prometheus_sees_it_live_and_die(tmp_path: Path):
    async with running_network(tmp_path) as network:
        await assert_watched(network)
        await assert_registered(network)
        await network.stop("validator")
        await network.wait_for('ALERTS{alertname="ValidatorDown", alertstate="pending"}')
        await network.stop("miners")


@pytest.mark.soak
async def test_a_customer_is_served_and_a_restart_changes_nothing(tmp_path: Path):
    """As deploy/README.md says it."""
    (line,) = re.findall(r"exec validator touchstone (task submit .*)", (DEPLOY / "README.md").read_text())
    async with running_network(tmp_path) as network:
        await assert_registered(network)
        for again in ("validator", "miners"):
            await network.stop(again)
        await network.finish("prepare")
        del network.processes["prepare"]
        for again in ("validator", "miners"):
            await network.start(again)
        await network.wait_for('up{job="touchstone-validator"} == 1')
        submit = await asyncio.create_subprocess_exec(
            "touchstone",
            *(network._here(word, "validator") for word in line.split()),
            env=network.environment("validator"),
            cwd=tmp_path / "validator",
        )
        assert await submit.wait() == 0
        async with asyncio.timeout(500):
            while not (await network.query("query", query="sum(touchstone_verdicts_total) > 0"))["result"]:
                assert network.processes["validator"].returncode is None, network.log("validator")
                await asyncio.sleep(1)
        assert (await network.query("query", query="sum(touchstone_hits_count)"))["result"]
        await network.stop("validator")
        await network.stop("miners")
