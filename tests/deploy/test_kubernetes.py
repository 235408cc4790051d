"""The manifests as kustomize builds them: Kubernetes' schema, its restricted standard, and what one key asks for."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.deploy.tools import DEPLOY, broken, complaints, find
from validator.cli import app
from validator.settings_file import load_settings

MANIFESTS = DEPLOY / "kubernetes"
NAMES = sorted(path.name for path in MANIFESTS.iterdir())


def build(folder: Path) -> str:
    finished = subprocess.run([find("kubectl"), "kustomize", folder], capture_output=True, text=True, check=False)
    return finished.stdout if finished.returncode == 0 else ""


def read(folder: Path) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all(build(folder))}


def check_schema(folder: Path, directory: Path) -> str:
    text = build(folder)
    if not text:
        return "kustomize does not build it"
    (directory / "built.yaml").write_text(text)
    return complaints("kubernetes-validate", "--strict", "--quiet", directory / "built.yaml")


def faults(folder: Path) -> list[str]:
    """What is wrong for us, though Kubernetes would take it."""
    kinds, found = read(folder), []
    deployment = kinds["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    of_pod, of_container = pod.get("securityContext", {}), container.get("securityContext", {})

    # https://kubernetes.io/docs/concepts/security/pod-security-standards/, "Restricted"; and the root stays as it is.
    restricted = {
        "host": not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
        "privileges": of_container.get("allowPrivilegeEscalation") is False and not of_container.get("privileged"),
        "capabilities": of_container.get("capabilities") == {"drop": ["ALL"]},
        "user": of_pod.get("runAsNonRoot") is True and of_pod.get("runAsUser", 0) > 0,
        "seccomp": of_pod.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "volumes": all(
            each.keys() & {"configMap", "secret", "emptyDir", "persistentVolumeClaim"} for each in pod["volumes"]
        ),
        "root": of_container.get("readOnlyRootFilesystem") is True,
        "token": pod.get("automountServiceAccountToken") is False,
        "namespace": kinds["Namespace"]["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") == "restricted",
    }
    found += [f"not restricted: {name}" for name, is_kept in restricted.items() if not is_kept]

    if deployment["replicas"] != 1 or deployment["strategy"] != {"type": "Recreate"}:
        found.append("one key may run twice")
    if kinds["PersistentVolumeClaim"]["spec"]["accessModes"] != ["ReadWriteOncePod"]:
        found.append("two pods may have one journal")
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    if paths != {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}:
        found.append("a probe asks the wrong question")
    if (
        not {"cpu", "memory"} <= container["resources"]["requests"].keys()
        or "memory" not in container["resources"]["limits"]
    ):
        found.append("no resources are asked for")

    labels = deployment["template"]["metadata"]["labels"].items()
    selectors = (
        kinds["Service"]["spec"]["selector"],
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        deployment["selector"]["matchLabels"],
    )
    if not all(selector.items() <= labels for selector in selectors):
        found.append("a selector does not mean the pod")
    if kinds["NetworkPolicy"]["spec"]["policyTypes"] != ["Ingress", "Egress"]:
        found.append("the network is open")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    if mounted != {volume["name"] for volume in pod["volumes"]}:
        found.append("volumes and mounts differ")
    claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    if claims != [kinds["PersistentVolumeClaim"]["metadata"]["name"]]:
        found.append("the state is on no volume that there is")
    return found


def changed(tmp_path: Path, name: str, old: str, new: str) -> Path:
    copied = shutil.copytree(MANIFESTS, tmp_path / "copy")
    broken(MANIFESTS / name, old, new, copied)
    return copied


def test_kubernetes_and_we_have_nothing_to_say(tmp_path: Path):
    assert check_schema(MANIFESTS, tmp_path) == ""
    assert faults(MANIFESTS) == []


def test_no_file_is_left_out():
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    assert sorted([*kustomization["resources"], *generator["files"], "kustomization.yaml"]) == NAMES


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("kustomization.yaml", "- volume.yaml", "- volumes.yaml"),
        ("kustomization.yaml", "configMapGenerator", "configMapGenerators"),
        ("deployment.yaml", "replicas: 1", "replicas: one"),
        ("deployment.yaml", "readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("deployment.yaml", "failureThreshold: 60", "failureThreshold: soon"),
        ("service.yaml", "targetPort", "target"),
        ("network-policy.yaml", "podSelector", "podSelektor"),
        ("volume.yaml", "resources:", "resource:"),
    ],
)
def test_kubernetes_sees_what_is_wrong(tmp_path: Path, name: str, old: str, new: str):
    assert check_schema(changed(tmp_path, name, old, new), tmp_path) != ""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("deployment.yaml", "runAsNonRoot: true", "runAsNonRoot: false"),
        ("deployment.yaml", "drop: [ALL]", "drop: [NET_RAW]"),
        ("deployment.yaml", "type: RuntimeDefault", "type: Unconfined"),
        ("deployment.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
        ("deployment.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
        ("deployment.yaml", "automountServiceAccountToken: false", "hostNetwork: true"),
        ("deployment.yaml", "replicas: 1", "replicas: 2"),
        ("deployment.yaml", "type: Recreate", "type: RollingUpdate"),
        ("deployment.yaml", "path: /readyz", "path: /healthz"),
        ("deployment.yaml", "claimName: touchstone-validator", "claimName: touchstone"),
        ("deployment.yaml", "{name: tmp, mountPath: /tmp}", "{name: temp, mountPath: /tmp}"),
        ("volume.yaml", "ReadWriteOncePod", "ReadWriteMany"),
        ("service.yaml", "app.kubernetes.io/name: touchstone-validator", "app.kubernetes.io/name: touchstone"),
        ("namespace.yaml", "enforce: restricted", "enforce: baseline"),
        ("network-policy.yaml", "[Ingress, Egress]", "[Ingress]"),
    ],
)
def test_we_see_what_is_wrong(tmp_path: Path, name: str, old: str, new: str):
    assert faults(changed(tmp_path, name, old, new)) != []


def test_the_pod_runs_the_configuration_that_it_is_given():
    kinds = read(MANIFESTS)
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == kinds["ConfigMap"]["metadata"]["name"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    (config,) = re.findall(r"TOUCHSTONE_CONFIG=(\S+)", dockerfile)
    assert config == f"{mounts['config']}/{next(iter(kinds['ConfigMap']['data']))}"
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in dockerfile
    settings = load_settings(MANIFESTS / "validator.toml")
    assert settings.keys.keystore is not None
    assert {str(settings.keys.keystore.parent), str(settings.keys.master_seed_file.parent)} == {mounts["keys"]}
    assert container["env"] == [{"name": "CREDENTIALS_DIRECTORY", "value": mounts["keys"]}]
    # Not the mount itself: its mode is the kubelet's.
    assert str(settings.state.directory.parent) == mounts["state"]
    command = get_command(app)
    for word in container["args"]:
        command = command.commands[word]  # type: ignore[attr-defined]
