"""Keystores, key files, seeds and passwords: what is opened, and what is refused."""

import asyncio
import hashlib
import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from validator.edges.key_files import (
    create_keystore,
    create_private,
    credential_file,
    load_key_file,
    load_keystore,
    load_seed,
    read_api_key,
)
from validator.edges.keys import LocalSigner, SecretBytes
from validator.errors import BadInput
from validator.protocol.commitment import keccak

KEY = bytes(range(1, 33))
VALIDATOR = LocalSigner(SecretBytes(KEY))


def write_key(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


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
    assert signer.address == LocalSigner(SecretBytes(secret)).address


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


async def test_a_new_keystore_opens_with_its_password_alone_and_is_its_owners(tmp_path: Path) -> None:
    """K5; and the loop goes on while the key is derived."""
    path, password_file = tmp_path / "keystore.json", tmp_path / "password"
    create_private(password_file, "a new password\n")
    creating = asyncio.create_task(
        asyncio.to_thread(create_keystore, path, SecretBytes(KEY), SecretBytes(b"a new password"))
    )
    turns = 0
    while not creating.done():
        turns += 1
        await asyncio.sleep(0.001)
    await creating
    assert turns > 10
    assert {file.stat().st_mode & 0o777 for file in (path, password_file)} == {0o600}
    assert load_keystore(path, password_file).address == VALIDATOR.address
    assert KEY.hex() not in path.read_text()
    with pytest.raises(BadInput, match="does not open"):
        load_keystore(path, write_key(tmp_path / "other", "another password"))


def test_a_keystore_needs_a_password(tmp_path: Path) -> None:
    """Complaint 18: no password is never taken for an empty one."""
    with pytest.raises(BadInput, match="needs a password"):
        create_keystore(tmp_path / "keystore.json", SecretBytes(KEY), SecretBytes(b""))
    assert not (tmp_path / "keystore.json").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Complaint 17: a lost identity file is a lost node."""
    path = write_key(tmp_path / "seed", "the only copy")
    with pytest.raises(BadInput, match="is there already, and is never overwritten"):
        create_private(path, "another")
    assert path.read_text() == "the only copy"


def test_a_private_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_private(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_password_comes_from_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaint 18. systemd's access control list shows in the mode as a right of the group."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    (tmp_path / "credentials").mkdir()
    password_file = write_key(tmp_path / "credentials" / "keystore-password", PASSWORD, mode=0o440)
    assert credential_file("keystore-password") == password_file
    path = write_keystore(tmp_path / "keystore", CHEAP)
    assert load_keystore(path, credential_file("keystore-password")).address == VALIDATOR.address
    password_file.chmod(0o444)
    with pytest.raises(BadInput, match="can be read by other users"):
        load_keystore(path, password_file)


def test_without_systemd_there_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaint 18: no prompt, and no empty password, but the way out."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(BadInput, match=r"add LoadCredential=keystore-password:.* or name a password_file"):
        credential_file("keystore-password")


def test_a_master_seed_is_loaded(tmp_path: Path) -> None:
    assert load_seed(write_key(tmp_path / "seed", KEY.hex() + "\n")).reveal() == KEY


@pytest.mark.parametrize("text", ["", KEY.hex()[:-2], KEY.hex() + "00", "zz" * 32, "é" * 32])
def test_a_master_seed_file_with_anything_else_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="must hold 64 hex digits") as error:
        load_seed(write_key(tmp_path / "seed", text))
    assert not text or text not in str(error.value)


def test_an_api_key_is_the_text_of_a_private_file(tmp_path: Path) -> None:
    assert read_api_key(write_key(tmp_path / "key", "sk-key\n")) == "sk-key"
    with pytest.raises(BadInput, match="can be read by other users: chmod 600 it"):
        read_api_key(write_key(tmp_path / "open", "sk-key", mode=0o644))
    with pytest.raises(BadInput, match="is empty"):
        read_api_key(write_key(tmp_path / "empty", "\n"))


def test_a_master_seed_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """K5."""
    with pytest.raises(BadInput, match="chmod 600"):
        load_seed(write_key(tmp_path / "seed", KEY.hex(), mode=0o640))
