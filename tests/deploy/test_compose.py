"""The compose file: Docker's own reading of it, its schema, and what we ask of every service."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.tools import DEPLOY, broken, complaints, find

COMPOSE = DEPLOY / "compose.yaml"


def read(path: Path) -> dict[str, Any]:
    """As Docker reads it: anchors, short forms and defaults resolved."""
    command = [find("docker-compose"), "--project-directory", DEPLOY, "--file", path, "config", "--format", "json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def faults(path: Path) -> list[str]:
    """What is wrong for us, though Docker would take it."""
    project, found = read(path), []
    for name, service in project["services"].items():
        if not (service.get("read_only") and service.get("cap_drop") == ["ALL"] and service.get("init")):
            found.append(f"{name} may write to its root, keeps capabilities or reaps nobody")
        if service.get("security_opt") != ["no-new-privileges:true"] or service.get("privileged"):
            found.append(f"{name} may gain privileges")
        if not all(service.get(limit) for limit in ("mem_limit", "cpus", "pids_limit")):
            found.append(f"{name} may take the whole machine")
        if service["image"] != "touchstone" and not re.fullmatch(r".+:v?\d+\.\d+\.\d+", service["image"]):
            found.append(f"{name} has no pinned image")
        if any(port.get("host_ip") != "127.0.0.1" for port in service.get("ports", ())):
            found.append(f"{name} is published to more than this machine")
        binds = [mount for mount in service.get("volumes", ()) if mount["type"] == "bind"]
        if not all(mount.get("read_only") and Path(mount["source"]).exists() for mount in binds):
            found.append(f"{name} mounts what is not there or may be changed")
    stops = {"validator", "miners", "chain", "prometheus"}
    found += [f"{name} is not given time" for name in stops if "stop_grace_period" not in project["services"][name]]
    used = {mount["source"] for service in project["services"].values() for mount in service["volumes"]}
    found += [f"nobody has the volume {name}" for name in project["volumes"] if name not in used]
    return found


def test_docker_and_the_schema_and_we_have_nothing_to_say():
    assert complaints("docker-compose", "--file", COMPOSE, "config", "--quiet") == ""
    assert complaints("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE) == ""
    assert faults(COMPOSE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("prepare: {condition", "prepair: {condition"),
        ("volumes:\n  chain:", "volumes:\n  chains:"),
        ("- validator:/var", "- validater:/var"),
        ("service:validator", "service:validater"),
        ("mem_limit: 1g", "mem_limit: lots"),
    ],
)
def test_docker_sees_what_is_wrong(tmp_path: Path, old: str, new: str):
    wrong = broken(COMPOSE, old, new, tmp_path)
    assert complaints("docker-compose", "--project-directory", DEPLOY, "--file", wrong, "config", "--quiet") != ""


@pytest.mark.parametrize(("old", "new"), [("entrypoint:", "entry:"), ("cap_drop: [ALL]", "cap_drop: ALL")])
def test_the_schema_sees_what_is_wrong(tmp_path: Path, old: str, new: str):
    wrong = broken(COMPOSE, old, new, tmp_path)
    assert complaints("check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong) != ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("127.0.0.1:3000:3000", "3000:3000"),
        ("read_only: true", "read_only: false"),
        ("cap_drop: [ALL]", "cap_drop: [NET_RAW]"),
        ("no-new-privileges:true", "no-new-privileges:false"),
        ("foundry:v1.7.1", "foundry:latest"),
        ("    pids_limit: 512\n", ""),
        ("./local:/local:ro", "./locals:/local:ro"),
        ("./prometheus:/etc/prometheus:ro", "./prometheus:/etc/prometheus"),
        ("    stop_grace_period: 1m\n", ""),
    ],
)
def test_we_see_what_is_wrong(tmp_path: Path, old: str, new: str):
    assert faults(broken(COMPOSE, old, new, tmp_path)) != []
