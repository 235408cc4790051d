"""Signing, recovering, deriving, loading; and that no key shows itself."""

import hashlib
import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from validator.edges.keys import (
    CURVE_ORDER,
    SecretBytes,
    Signer,
    derive_signer,
    dev_mnemonic_signer,
    load_key_file,
    load_keystore,
    recover_typed_data,
)
from validator.errors import BadInput
from validator.protocol import typed_data
from validator.protocol.commitment import keccak
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


PASSWORD = "correct horse"  # noqa: S105
CHEAP = Account.encrypt(KEY, PASSWORD, kdf="scrypt", iterations=2)
CHEAP_PBKDF2 = Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=1)


def changed(keystore: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy with another value at a dotted place; none there if the value is None."""
    copy: dict[str, Any] = json.loads(json.dumps(keystore))
    *path, name = place.split(".")
    inner = copy
    for step in path:
        inner = inner[step]
    inner[name] = value
    if value is None:
        del inner[name]
    return copy


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    return write_key(tmp_path / "password", PASSWORD + "\n")


def write_keystore(path: Path, keystore: object, mode: int = 0o600) -> Path:
    return write_key(path, json.dumps(keystore), mode)


@pytest.mark.parametrize(
    "keystore",
    [
        CHEAP,
        CHEAP_PBKDF2,
        changed(CHEAP, "address", None),
        changed(CHEAP, "address", VALIDATOR.address.lower()),
        {"Crypto" if key == "crypto" else key: value for key, value in CHEAP.items()},
        CHEAP | {"x-note": "clients add members of their own"},
    ],
)
def test_a_keystore_is_opened(tmp_path: Path, password_file: Path, keystore: dict[str, Any]) -> None:
    path = write_keystore(tmp_path / "keystore", keystore)
    assert load_keystore(path, password_file).address == VALIDATOR.address


def test_a_keystore_as_geth_writes_it_is_within_the_limits(tmp_path: Path, password_file: Path) -> None:
    """The test vector of the Web3 Secret Storage definition: scrypt at n = 2^18, r = 1, p = 8."""
    vector = {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 262144,
                "p": 8,
                "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    }
    path = write_keystore(tmp_path / "UTC--keystore", vector)
    signer = load_keystore(path, write_key(password_file, "testpassword"))
    secret = bytes.fromhex("7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d")
    assert signer.address == Signer(SecretBytes(secret)).address


@pytest.mark.parametrize("text", [PASSWORD, PASSWORD + "\n", PASSWORD + "\r\n"])
def test_one_line_end_is_no_part_of_the_password(tmp_path: Path, text: str) -> None:
    path = write_keystore(tmp_path / "keystore", CHEAP)
    assert load_keystore(path, write_key(tmp_path / "password", text)).address == VALIDATOR.address


@pytest.mark.parametrize("text", ["wrong", PASSWORD + "\n\n", " " + PASSWORD, "\xff"])
def test_a_wrong_password_is_one_clear_line_that_quotes_nothing(tmp_path: Path, text: str) -> None:
    path = write_keystore(tmp_path / "keystore", CHEAP)
    with pytest.raises(BadInput, match="does not open the keystore") as error:
        load_keystore(path, write_key(tmp_path / "secret", text))
    assert PASSWORD not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("text", ["", "\n", "\r\n"])
def test_no_password_is_never_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    path = write_keystore(tmp_path / "keystore", CHEAP)
    with pytest.raises(BadInput, match="is empty"):
        load_keystore(path, write_key(tmp_path / "password", text))


@pytest.mark.parametrize(
    ("keystore", "expected"),
    [
        (changed(CHEAP, "crypto.kdfparams.n", 2**31), "scrypt would take more than 256 MiB"),
        (changed(CHEAP, "crypto.kdfparams.n", 2**19), "scrypt would take more than 256 MiB"),
        (changed(CHEAP, "crypto.kdfparams.r", 2**24), "scrypt would take more than 256 MiB"),
        (changed(CHEAP, "crypto.kdfparams.p", 2**30), "scrypt would take more than 256 MiB"),
        (changed(CHEAP_PBKDF2, "crypto.kdfparams.c", 10_000_001), "less than or equal to 10000000"),
        (changed(CHEAP_PBKDF2, "crypto.kdfparams.c", 2**62), "less than or equal to 10000000"),
    ],
)
def test_what_would_cost_too_much_to_open_is_refused_before_it_is_tried(
    tmp_path: Path, password_file: Path, keystore: dict[str, Any], expected: str
) -> None:
    """H3."""
    began = time.process_time()
    with pytest.raises(BadInput, match=expected):
        load_keystore(write_keystore(tmp_path / "keystore", keystore), password_file)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("value", ["00" * 20, "0x" + "11" * 20])
def test_a_keystore_that_names_another_address_is_refused(tmp_path: Path, password_file: Path, value: str) -> None:
    """H4."""
    path = write_keystore(tmp_path / "keystore", changed(CHEAP, "address", value))
    with pytest.raises(BadInput, match=f"but its key is that of {VALIDATOR.address}"):
        load_keystore(path, password_file)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("version", 4),
        ("version", "3"),
        ("version", None),
        ("address", 5),
        ("address", "xyz"),
        ("crypto", None),
        ("crypto", []),
        ("crypto.cipher", "aes-256-ctr"),
        ("crypto.kdf", "argon2"),
        ("crypto.kdf", "pbkdf2"),
        ("crypto.mac", "00" * 31),
        ("crypto.ciphertext", "00" * 33),
        ("crypto.ciphertext", "zz" * 32),
        ("crypto.cipherparams.iv", ""),
        ("crypto.kdfparams.n", 3),
        ("crypto.kdfparams.n", 0),
        ("crypto.kdfparams.n", "2"),
        ("crypto.kdfparams.n", 2.0),
        ("crypto.kdfparams.r", -8),
        ("crypto.kdfparams.p", True),
        ("crypto.kdfparams.dklen", 16),
        ("crypto.kdfparams.salt", "abc"),
    ],
)
def test_a_malformed_keystore_is_refused_with_the_place(
    tmp_path: Path, password_file: Path, place: str, value: object
) -> None:
    path = write_keystore(tmp_path / "keystore", changed(CHEAP, place, value))
    with pytest.raises(BadInput, match=f"keystore that can be used: .*{place.split('.')[0]}") as error:
        load_keystore(path, password_file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[1", '{"version": 3, "version": 3}', "[" * 50_000, '{"version": 1e999}'])
def test_what_is_no_strict_json_is_no_keystore(tmp_path: Path, password_file: Path, text: str) -> None:
    with pytest.raises(BadInput, match="is no V3 keystore"):
        load_keystore(write_key(tmp_path / "keystore", text), password_file)


def test_a_directory_stands_for_its_one_keystore(tmp_path: Path, password_file: Path) -> None:
    folder = tmp_path / "keystores"
    folder.mkdir()
    with pytest.raises(BadInput, match="holds 0 keystores"):
        load_keystore(folder, password_file)
    write_keystore(folder / "UTC--one", CHEAP)
    write_key(folder / "password.txt", PASSWORD)
    write_key(folder / ".hidden", "{")
    assert load_keystore(folder, folder / "password.txt").address == VALIDATOR.address
    write_keystore(folder / "UTC--two", CHEAP)
    with pytest.raises(BadInput, match="holds 2 keystores: name one file"):
        load_keystore(folder, password_file)


def test_a_keystore_or_password_that_others_can_read_is_refused(tmp_path: Path, password_file: Path) -> None:
    path = write_keystore(tmp_path / "keystore", CHEAP, mode=0o640)
    with pytest.raises(BadInput, match=r"the keystore .* can be read by other users: chmod 600"):
        load_keystore(path, password_file)
    path.chmod(0o600)
    password_file.chmod(0o604)
    with pytest.raises(BadInput, match=r"the password file .* can be read by other users: chmod 600"):
        load_keystore(path, password_file)


def test_a_missing_or_endless_keystore_is_bad_input(tmp_path: Path, password_file: Path) -> None:
    with pytest.raises(BadInput, match=os.strerror(2)):
        load_keystore(tmp_path / "keystore", password_file)
    with pytest.raises(BadInput, match=os.strerror(2)):
        load_keystore(write_keystore(tmp_path / "keystore", CHEAP), tmp_path / "nowhere")
    with pytest.raises(BadInput, match="is longer than"):
        load_keystore(write_key(tmp_path / "long", "{" + " " * 100_000), password_file)


def test_a_keystore_of_no_valid_key_is_refused(tmp_path: Path, password_file: Path) -> None:
    crypto = CHEAP["crypto"]
    params = {name: crypto["kdfparams"][name] for name in ("n", "r", "p", "dklen")}
    derived = hashlib.scrypt(PASSWORD.encode(), salt=bytes.fromhex(crypto["kdfparams"]["salt"]), **params)
    # A counter mode cipher: the plain text that is known is taken out of the cipher text.
    zero = bytes(a ^ b for a, b in zip(bytes.fromhex(crypto["ciphertext"]), KEY, strict=True))
    forged = changed(CHEAP, "crypto.ciphertext", zero.hex())
    path = write_keystore(tmp_path / "keystore", changed(forged, "crypto.mac", keccak(derived[16:] + zero).hex()))
    with pytest.raises(BadInput, match="holds no valid secp256k1 key"):
        load_keystore(path, password_file)
