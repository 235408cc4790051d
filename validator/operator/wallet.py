"""The signer that the settings name, opened without holding up the loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from validator.edges.key_files import credential_file, load_key_file, load_keystore, load_seed
from validator.edges.keys import SecretBytes, Signer
from validator.edges.remote_signer import RemoteSigner
from validator.errors import BadInput, Fatal
from validator.settings import KeySettings, SignerSettings


@asynccontextmanager
async def open_signer(keys: SignerSettings) -> AsyncIterator[Signer]:
    """BadInput if the key cannot be opened, or is another than its table's `address`."""
    if keys.remote_signer is not None and keys.address is not None:
        remote = RemoteSigner(keys.remote_signer.get_secret_value(), keys.address)
        try:
            yield remote
        finally:
            await remote.aclose()
        return
    signer = await asyncio.to_thread(_load, keys)
    if keys.address not in (None, signer.address):
        raise BadInput(f"{keys.table}.address is {keys.address}, but the key is that of {signer.address}")
    yield signer


async def load_master_seed(keys: KeySettings) -> SecretBytes:
    """BadInput as `load_seed`."""
    return await asyncio.to_thread(load_seed, keys.master_seed_file)


def _load(keys: SignerSettings) -> Signer:
    if keys.key_file is not None:
        return load_key_file(keys.key_file)
    password_file = keys.password_file
    if keys.password_credential is not None:
        password_file = credential_file(keys.password_credential)
    if keys.keystore is None or password_file is None:
        raise Fatal("the settings name no key")  # They cannot be made like that.
    return load_keystore(keys.keystore, password_file)
