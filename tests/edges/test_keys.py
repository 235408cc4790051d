"""Signing, recovering, deriving, loading; and that no key shows itself."""

import os
import traceback
from pathlib import Path

import pytest

from validator.edges.keys import (
    CURVE_ORDER,
    SecretBytes,
    Signer,
    derive_signer,
    dev_mnemonic_signer,
    load_key_file,
    recover_typed_data,
)
from validator.errors import BadInput
from validator.protocol import typed_data
from validator.types import Address, Hash32, TaskId

KEY = bytes(range(1, 33))
VALIDATOR = Signer(SecretBytes(KEY))
CONTRACT = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
DOMAIN = typed_data.domain(31337, CONTRACT)
TRANSCRIPT = typed_data.transcript(TaskId(b"\1" * 32), Hash32(b"\2" * 32), Hash32(b"\3" * 32), Hash32(b"\4" * 32))


def write_key(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_signature_recovers_to_its_signer() -> None:
    signature = VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    assert len(signature) == 65
    assert recover_typed_data(DOMAIN, TRANSCRIPT, signature) == VALIDATOR.address


@pytest.mark.parametrize("domain", [typed_data.domain(1, CONTRACT), typed_data.domain(31337, VALIDATOR.address)])
def test_a_signature_counts_on_one_chain_and_for_one_contract(domain: dict[str, object]) -> None:
    """C10: on another chain or for another contract it belongs to somebody else."""
    signature = VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    assert recover_typed_data(domain, TRANSCRIPT, signature) != VALIDATOR.address


def test_a_signature_has_one_valid_encoding() -> None:
    signature = VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high_s = r + (CURVE_ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    for other in (
        high_s,
        signature[:64] + bytes([v - 27]),
        signature[:64],
        signature + b"\0",
        bytes(65),
        bytes(64) + b"\x1b",
        b"\xff" * 32 + signature[32:],
        r + bytes(32) + bytes([v]),
        b"",
    ):
        assert recover_typed_data(DOMAIN, TRANSCRIPT, other) is None


def test_any_65_bytes_recover_to_somebody_or_nobody() -> None:
    signature = VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    for first_byte in range(256):
        recovered = recover_typed_data(DOMAIN, TRANSCRIPT, bytes([first_byte]) + signature[1:])
        assert (recovered == VALIDATOR.address) == (first_byte == signature[0])


def test_no_key_shows_in_representations_or_tracebacks() -> None:
    """H5."""
    secret = SecretBytes(KEY)
    try:
        raise ValueError(secret, Signer(secret))
    except ValueError:
        shown = traceback.format_exc()
    shown += f"{secret} {secret!r} {[secret]} {Signer(secret)!r} {vars(Signer(secret))}"
    assert KEY.hex() not in shown
    assert repr(KEY) not in shown
    assert "SecretBytes(redacted)" in shown


def test_secrets_are_equal_by_content() -> None:
    assert SecretBytes(b"a") == SecretBytes(b"a")
    assert SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"


@pytest.mark.parametrize("secret", [b"", KEY[:31], KEY + b"\0", bytes(32), CURVE_ORDER.to_bytes(32, "big")])
def test_what_is_no_private_key_makes_no_signer(secret: bytes) -> None:
    with pytest.raises(ValueError, match="between 1 and the curve order"):
        Signer(SecretBytes(secret))


def test_derived_keys_depend_on_seed_and_role_alone() -> None:
    addresses = {derive_signer(seed, role).address for seed in (b"one", b"two") for role in ("payer", "miner 1")}
    assert len(addresses) == 4
    assert derive_signer(b"one", "payer").address == derive_signer(b"one", "payer").address


def test_the_public_mnemonic_gives_anvils_accounts() -> None:
    assert dev_mnemonic_signer(0).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert dev_mnemonic_signer(9).address == "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"


@pytest.mark.parametrize("text", [KEY.hex(), "0x" + KEY.hex(), KEY.hex().upper() + "\n"])
def test_a_key_file_is_loaded(tmp_path: Path, text: str) -> None:
    assert load_key_file(write_key(tmp_path / "key", text)).address == VALIDATOR.address


@pytest.mark.parametrize("text", ["", "0x", KEY.hex()[:-1], KEY.hex() + "00", "xyz", "00" * 32, "é" * 32])
def test_a_key_file_with_anything_else_is_bad_input_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="must hold 64 hex digits") as error:
        load_key_file(write_key(tmp_path / "file", text))
    assert len(text) < 3 or text not in "".join(traceback.format_exception(error.value))


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="chmod 600"):
        load_key_file(write_key(tmp_path / "key", KEY.hex(), mode=0o644))


def test_a_missing_key_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=os.strerror(2)):
        load_key_file(tmp_path / "key")
