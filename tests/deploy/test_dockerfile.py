"""The Dockerfile: hadolint's rules, and what only we know of our image. No engine runs here, so no image is built."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from typer.main import get_command

from tests.deploy.tools import DEPLOY, ROOT, broken, complaints
from validator.cli import app
from validator.settings import HttpSettings
from validator.web.server import make_app

DOCKERFILE = DEPLOY / "Dockerfile"
PORT = HttpSettings().address[1]


def instructions(path: Path) -> list[tuple[str, str]]:
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def faults(path: Path) -> list[str]:
    """What is wrong for us, though Docker would take it."""
    steps, found = instructions(path), []
    stages = [index for index, (word, _) in enumerate(steps) if word == "FROM"]
    last = steps[stages[-1] :]
    user = [rest for word, rest in last if word == "USER"]
    if not user or not re.fullmatch(r"[1-9]\d+:[1-9]\d+", user[-1]):
        found.append("the last stage does not run as a number that is not root's")
    if len(stages) < 2 or any("pip " in rest for word, rest in last if word == "RUN"):
        found.append("what builds is in the image")
    health = " ".join(rest for word, rest in last if word == "HEALTHCHECK")
    if f"http://127.0.0.1:{PORT}/healthz" not in health:
        found.append("health is not asked of /healthz")
    if not any(word == "EXPOSE" and rest == str(PORT) for word, rest in last):
        found.append("the listener's port is not exposed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    torch = next(each for each in extras["model"] if each.startswith("torch"))
    if f'${{TORCH_INDEX:+PIP_INDEX_URL="$TORCH_INDEX"}} && pip install --no-deps {torch}' not in path.read_text():
        found.append(f"the image's PyTorch is not {torch} from the index that is named")
    for extra in re.findall(r'"\.\[([\w,]+)\]"', path.read_text()):
        found += [f"there is no extra {name}" for name in extra.split(",") if name not in extras]
    return found


def is_sent(name: str) -> bool:
    """Whether Docker is given this file or folder: the last pattern that fits decides."""
    sent = True
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch(name, line.removeprefix("!")):
            sent = line.startswith("!")
    return sent


def test_hadolint_and_we_have_nothing_to_say():
    assert complaints("hadolint", DOCKERFILE) == ""
    assert faults(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FROM python:3.11-slim-bookworm AS build", "FROM python AS build"),
        ("WORKDIR /source", "WORKDIR source"),
        ("CMD [", "CMD validator run ["),
        ("FROM python", "FORM python"),
        ("&& install -d", "&& apt-get install curl && install -d"),
    ],
)
def test_hadolint_sees_what_is_wrong(tmp_path: Path, old: str, new: str):
    assert complaints("hadolint", broken(DOCKERFILE, old, new, tmp_path)) != ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 10001:10001", "USER 0:0"),
        ("USER 10001:10001\n", ""),
        ("/healthz", "/metrics"),
        ("torch==2.13.0", "torch==2.12.0"),
        (' ${TORCH_INDEX:+PIP_INDEX_URL="$TORCH_INDEX"}', ""),
        ("[model,postgres]", "[model,postgre]"),
        ("EXPOSE 9879", "EXPOSE 80"),
        ("install -d", "pip install -U pip && install -d"),
    ],
)
def test_we_see_what_is_wrong(tmp_path: Path, old: str, new: str):
    assert faults(broken(DOCKERFILE, old, new, tmp_path)) != []


def test_the_health_that_is_asked_for_is_served():
    routes = {resource.canonical for resource in make_app(None, None).router.resources()}  # type: ignore[arg-type]
    assert {"/healthz", "/readyz", "/metrics"} <= routes


def test_what_is_copied_is_there_and_sent_and_secrets_are_not():
    for word, rest in instructions(DOCKERFILE):
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert is_sent(source), source
    for name in (".git", ".cache", ".venv", "keystore.json", "master-seed", "state", "tests", "benchmarks"):
        assert not is_sent(name), name
    # What setuptools reads besides the packages.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all(is_sent(name) for name in (project["readme"], *project["license-files"]))


def test_the_image_runs_a_command_that_there_is():
    words = re.findall(r'"([\w-]+)"', dict(instructions(DOCKERFILE))["CMD"])
    command = get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    assert words == ["validator", "run"]
