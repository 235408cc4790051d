"""Which daemon, which node and which key a command works with: from options, else from the daemon's configuration."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from validator.config import DEV_CHAIN_IDS
from validator.control.client import ControlClient
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.key_files import load_key_file, load_keystore
from validator.edges.keys import LocalSigner
from validator.errors import BadInput
from validator.settings import Settings
from validator.settings_file import load_settings
from validator.types import Address

SOCKET = "control.sock"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the daemon is, as its user says: its configuration, or its socket; and a node of one's own."""

    config: Path | None = None
    socket: Path | None = None
    rpc: str | None = None

    @asynccontextmanager
    async def control(self) -> AsyncIterator[ControlClient]:
        """A client of the daemon; BadInput if neither socket nor configuration is named."""
        path = self.socket or self._settings("--socket").state.directory / SOCKET
        async with ControlClient.connect(path) as client:
            yield client

    @asynccontextmanager
    async def contract(self, address: str, chain_id: int) -> AsyncIterator[Touchstone]:
        """The contract through the node named, else the configuration's; BadInput if it is not what the daemon says."""
        urls = [self.rpc] if self.rpc else [url.get_secret_value() for url in self._settings("--rpc").network.rpc_urls]
        chain = await Chain.connect(urls)
        try:
            if chain.chain_id != chain_id:
                raise BadInput(f"the node is on chain {chain.chain_id}, the validator on {chain_id}")
            yield await Touchstone.at(chain, Address(address))
        finally:
            await chain.aclose()

    def _settings(self, instead: str) -> Settings:
        if self.config is None:
            raise BadInput(f"say which validator: --config with its configuration, or {instead}")
        return load_settings(self.config)


@dataclass(frozen=True, slots=True)
class PayerKey:
    """Where the payer's key is. It is opened here and never leaves this process."""

    keystore: Path | None = None
    password_file: Path | None = None
    key_file: Path | None = None

    def open(self) -> LocalSigner:
        """BadInput unless it is a keystore with its password, or a bare key."""
        match self.keystore, self.password_file, self.key_file:
            case None, None, Path() as key_file:
                return load_key_file(key_file)
            case Path() as keystore, Path() as password_file, None:
                return load_keystore(keystore, password_file)
        raise BadInput("the payer's key is --payer-keystore with --password-file, or --payer-key-file")

    def check_chain(self, chain_id: int) -> None:
        """A bare key is for development chains."""
        if self.key_file is not None and chain_id not in DEV_CHAIN_IDS:
            raise BadInput(f"chain {chain_id} is no development chain: take --payer-keystore, not a bare key")


def make_sender(contract: Touchstone, signer: LocalSigner) -> TransactionSender:
    return TransactionSender(contract.chain, signer)
