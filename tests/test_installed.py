"""`pip install .` alone, in an environment of its own: no torch, compiler or test tool; audits, and validates."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.daemon.live_world import free_port
from tests.edges.loopback import serving
from tests.edges.test_openings import Model, write_openings
from validator.base_model.grammar import generate_rows
from validator.config import DEV
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, Touchstone
from validator.edges.devnet import embedded_node
from validator.edges.keys import dev_mnemonic_signer
from validator.protocol.wire import encode_training_file
from validator.types import Address

ROOT = Path(__file__).parents[1]
UNWANTED = {
    *("torch", "transformers", "tokenizers", "peft", "safetensors", "accelerate", "ray"),
    *("vyper", "py-evm", "eth-tester", "pyrevm", "pytest", "hypothesis", "playwright", "mypy", "ruff", "mkdocs"),
}
PLANT = """
import asyncio, sys
from validator.config import DEV
from validator.edges.datasets import load_rows
from validator.edges.openings import ChatOpenings
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.model_work import Children
from validator.planting_job import plant_in
from pathlib import Path

if __name__ == "__main__":
    url, rows = sys.argv[1], load_rows(Path(sys.argv[2]))
    secrets = Secrets(b"seed" * 8, 31337, "0x" + "11" * 20)
    openings, scheme = ChatOpenings(url, "big"), make_scheme("canary-openings")
    planted = asyncio.run(
        plant_in(Children(1), None, rows, scheme, 16, secrets, "0x" + "22" * 20, 256, openings=openings)
    )
    print(len(planted.marks), planted.generator)
"""
"""As a daemon plants, in a child process."""


def required(requirement: Requirement, extra: str = "") -> Iterator[str]:
    """What a requirement brings, all the way down, by the metadata of what is installed here."""
    open_, seen = [(requirement, extra)], set()
    while open_:
        wanted, extra = open_.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        for each in {"", *wanted.extras}:
            key = canonicalize_name(wanted.name), each
            if key not in seen:
                seen.add(key)
                yield key[0]
                open_ += [(Requirement(text), each) for text in distribution(wanted.name).requires or ()]


def test_its_requirements_bring_no_torch_no_compiler_and_no_test_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = {name for text in project["dependencies"] for name in required(Requirement(text))}
    assert {"web3", "scipy", "eth-hash", "pycryptodome"} <= brought, "an extra of a requirement counts too"
    assert not UNWANTED & brought
    assert "torch" in set(required(Requirement(project["optional-dependencies"]["model"][0])))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands; built from a copy, since a build leaves files behind."""
    directory = tmp_path_factory.mktemp("installed")
    for name in ("validator", "miner_sim", "contracts"):
        shutil.copytree(ROOT / name, directory / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, directory / "source")
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    pip = [directory / "venv" / "bin" / "pip", "install", "-qq", "-c", "constraints.txt", "."]
    subprocess.run(pip, check=True, cwd=directory / "source")
    return directory / "venv" / "bin"


async def run(program: Path, *arguments: str | Path, status: int = 0, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"]} | environment,
        cwd=program.parents[2],
    )
    out, _ = await process.communicate()
    assert process.returncode == status, out.decode()
    return out.decode()


@pytest.mark.soak
async def test_an_auditor_and_a_validator_with_openings_by_url_work(installed: Path, tmp_path: Path) -> None:
    touchstone = installed / "touchstone"
    listed = json.loads((await run(installed / "pip", "list", "--format", "json")).splitlines()[0])
    assert not UNWANTED & {canonicalize_name(each["name"]) for each in listed}
    for help_of in ([], ["audit"], ["validator"], ["simulate"]):
        assert "Usage" in await run(touchstone, *help_of, "--help")
    assert "pip install 'touchstone-validator[simulate]'" in await run(touchstone, "simulate", status=2)

    said = Model(lambda _round, count: json.dumps(write_openings(count, start="The" if _round % 2 else "A")))
    async with embedded_node() as url, serving(said.handle) as openings_url:
        chain = await Chain.connect(url)
        funder = TransactionSender(chain, dev_mnemonic_signer(0))
        contract = await Touchstone.deploy(funder, Network.of_profile(DEV, funder.address))
        audited = await run(touchstone, "audit", "--rpc", url, "--contract", contract.address, "--json", "-")
        assert json.loads(audited)["summary"]["is_clean"]

        await work_as_validator(touchstone, contract, funder, url, f"{openings_url}/v1", tmp_path)
        await chain.aclose()

        rows, script = tmp_path / "rows.jsonl", tmp_path / "plant.py"
        rows.write_bytes(encode_training_file(generate_rows(300, seed=1)))
        script.write_text(PLANT)
        planted = await run(installed / "python", script, f"{openings_url}/v1", rows)
        assert planted.split("\n")[0] == "16 openings by big"


async def work_as_validator(
    touchstone: Path, contract: Touchstone, funder: TransactionSender, url: str, openings_url: str, home: Path
) -> None:
    """From `init` to ready, to a clean end."""
    chain_id, config = str(contract.chain.chain_id), home / "validator" / "validator.toml"
    options = ("--profile", "dev", "--rpc-url", url, "--chain-id", chain_id, "--contract", contract.address)
    made = await run(
        touchstone, "validator", "init", config.parent, *options, "--first-block", "0", "--min-reward-wei", "1"
    )
    await funder.send(Address(re.findall("0x[0-9a-fA-F]{40}", made)[0]), value_wei=10**18)
    port = free_port()
    environment = {
        "TOUCHSTONE_CONFIG": str(config),
        "TOUCHSTONE_GENERATOR__OPENINGS_URL": openings_url,
        "TOUCHSTONE_GENERATOR__OPENINGS_MODEL": "big",
        "TOUCHSTONE_TASKS__SCHEME": "canary-openings",
        "TOUCHSTONE_HTTP__LISTEN": f"127.0.0.1:{port}",
    }
    assert "a language model is needed" in await run(
        touchstone, "validator", "check", status=2, TOUCHSTONE_CONFIG=str(config)
    )
    await run(touchstone, "validator", "deposit", "0.5", **environment)
    assert "openings come from" in await run(touchstone, "validator", "check", **environment)
    daemon = await asyncio.create_subprocess_exec(
        *(touchstone, "validator", "run"),
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]} | environment,
    )
    assert daemon.stderr is not None
    async with asyncio.timeout(60):
        while '"ready"' not in (line := (await daemon.stderr.readline()).decode()):
            assert line, "the daemon has ended"
    assert "health    ready" in await run(touchstone, "validator", "status", **environment)
    daemon.terminate()
    assert await daemon.wait() == 0
