"""The shipped artefact is what the source compiles to, loads without a compiler, and its reasons are all tested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account.messages import encode_typed_data

from contracts import ARTIFACT_PATH, SOURCE_PATH, load_artifact
from contracts.compile import main
from tests.contracts.evm import PyRevm
from tests.contracts.market import Market
from tests.contracts.rounds import MINER, VALIDATOR
from validator.protocol import typed_data
from validator.types import Address

REASON = re.compile(r'"([a-z_]+: [^"]+)"')
MAX_RUNTIME_BYTES = 20_000
IMMUTABLE_BYTES = 10 * 32


def test_recompiling_gives_the_same_bytes() -> None:
    """E12."""
    assert main(["--check"]) == 0


def test_check_tells_a_stale_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "Touchstone.json"
    stale.write_text(ARTIFACT_PATH.read_text().replace("vyper 0", "vyper 9"))
    monkeypatch.setattr("contracts.compile.ARTIFACT_PATH", stale)
    assert main(["--check"]) == 1
    assert "run python -m contracts.compile" in capsys.readouterr().err


def test_loading_imports_no_compiler() -> None:
    script = "import sys, contracts; contracts.load_artifact(); sys.exit('vyper' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_deployed_code_is_the_runtime_and_its_immutables() -> None:
    runtime = load_artifact().runtime_bytecode
    chain = PyRevm()
    assert chain.code(Market(chain).address).startswith(runtime)
    assert len(runtime) + IMMUTABLE_BYTES <= MAX_RUNTIME_BYTES


def test_every_reason_is_expected_by_some_test() -> None:
    reasons = set(REASON.findall(SOURCE_PATH.read_text())) - {"module: reason"}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert [reason for reason in sorted(reasons) if reason not in tests] == []


def test_the_source_uses_checked_arithmetic_and_no_balance() -> None:
    """E3, E11."""
    source = SOURCE_PATH.read_text()
    assert "unsafe_" not in source
    assert ".balance" not in source
    assert "delegatecall" not in source


def test_the_domain_is_eip_712(market: Market) -> None:
    types, message = typed_data.session(Address(VALIDATOR.address), Address(MINER.address), 0, 0)
    signable = encode_typed_data(typed_data.domain(market.chain.chain_id, Address(market.address)), types, message)
    assert market.view("domain_separator") == signable.header
