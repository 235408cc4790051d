"""Which key the settings name, wherever it is kept."""

from pathlib import Path
from typing import Any

import pytest

from tests.edges.loopback import serving
from tests.edges.test_remote_signer import DOMAIN, KEY, SESSION, SigningServer
from validator.edges.key_files import create_keystore, create_private
from validator.edges.keys import LocalSigner, SecretBytes
from validator.errors import BadInput
from validator.operator.wallet import load_master_seed, open_signer
from validator.settings import KeySettings
from validator.types import Address

SECRET = SecretBytes(b"\3" * 32)
OWN = LocalSigner(SECRET).address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_private(tmp_path / "seed", "22" * 32)
    create_private(tmp_path / "password", "correct horse")
    create_private(tmp_path / "key", SECRET.reveal().hex())
    create_keystore(tmp_path / "keystore", SECRET, SecretBytes(b"correct horse"))
    return tmp_path


def keys_of(folder: Path, **keys: Any) -> KeySettings:
    return KeySettings(master_seed_file=folder / "seed", **keys)


async def address_of(keys: KeySettings) -> Address:
    async with open_signer(keys) as signer:
        return signer.address


async def test_a_key_is_opened_from_a_file_a_keystore_or_a_credential(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Complaint 18."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    keystore = folder / "keystore"
    assert await address_of(keys_of(folder, key_file=folder / "key")) == OWN
    assert await address_of(keys_of(folder, keystore=keystore, password_file=folder / "password")) == OWN
    assert await address_of(keys_of(folder, keystore=keystore, password_credential="password", address=OWN)) == OWN


async def test_a_key_of_another_address_than_named_is_refused(folder: Path) -> None:
    """H4."""
    with pytest.raises(BadInput, match=f"keys.address is {KEY.address}, but the key is that of {OWN}"):
        await address_of(keys_of(folder, key_file=folder / "key", address=KEY.address))


async def test_a_remote_key_signs_where_it_is(folder: Path) -> None:
    async with serving(SigningServer().handle) as url:
        keys = keys_of(folder, remote_signer=url, address=KEY.address)
        async with open_signer(keys) as signer:
            signature = await signer.sign_typed_data(DOMAIN, SESSION)
    assert signature == await KEY.sign_typed_data(DOMAIN, SESSION)


async def test_a_missing_credential_says_the_way_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaint 18: no prompt, and no empty password."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(BadInput, match="add LoadCredential=password"):
        await address_of(keys_of(folder, keystore=folder / "keystore", password_credential="password"))


async def test_the_master_seed_is_read_and_not_shown(folder: Path) -> None:
    """H5."""
    seed = await load_master_seed(keys_of(folder, key_file=folder / "key"))
    assert seed.reveal() == b"\x22" * 32
    assert "22" not in repr(seed)
