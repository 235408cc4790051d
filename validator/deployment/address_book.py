"""The address book: which contracts this user has deployed, or has begun to deploy, on which chain.

Rule kept: an entry is on disk, with the signed bytes, before they leave, so that a crash at any moment ends in one
contract. What became of the bytes is asked of the chain, never of the book.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints, ValidationError

from validator.deployment.parameters import CheckedAddress, Parameters
from validator.edges.chain import Chain
from validator.edges.contract import Network
from validator.errors import BadInput, first_problem
from validator.files import write_whole
from validator.protocol.commitment import keccak
from validator.protocol.wire import strict_json
from validator.types import Address, BlockNumber, Hash32


class Deployment(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One contract, from before its transaction left; `block_number` and `cost_wei` are None then."""

    address: CheckedAddress
    deployer: CheckedAddress
    nonce: int
    network: Parameters
    source_sha256: str
    compiler: str
    transaction_hash: Annotated[str, StringConstraints(pattern="^0x[0-9a-f]{64}$")]
    raw_transaction: Annotated[str, StringConstraints(pattern="^0x([0-9a-f]{2})+$")]
    block_number: int | None = None
    cost_wei: int | None = None

    @property
    def is_mined(self) -> bool:
        """Whether a block with it has been seen; a reorganisation may yet take it back."""
        return self.block_number is not None

    @property
    def parameters(self) -> Network:
        return self.network.to_network(Address(self.deployer))

    @property
    def raw(self) -> bytes:
        return bytes.fromhex(self.raw_transaction.removeprefix("0x"))

    @property
    def tx_hash(self) -> Hash32:
        return keccak(self.raw)


class _Content(BaseModel, strict=True, extra="forbid"):
    version: Literal[1] = 1
    chains: dict[str, list[Deployment]] = {}


def default_path() -> Path:
    """One book for each user, wherever the command is run: `$XDG_DATA_HOME/touchstone/contracts.json`."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return data / "touchstone" / "contracts.json"


async def identify(chain: Chain) -> str:
    """A chain's key in the book: its id, and its first block, because development chains share their ids."""
    return f"{chain.chain_id}:0x{(await chain.block(BlockNumber(0))).hash.hex()}"


class AddressBook:
    """A JSON file of deployments by chain; a missing one is empty. Methods raise BadInput where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def deployments(self, chain_key: str) -> list[Deployment]:
        """Those of one chain, oldest first."""
        return self._load().chains.get(chain_key, [])

    def put(self, chain_key: str, deployment: Deployment) -> None:
        """Add it, or replace what the book has of the same transaction; the disk has it when this returns."""
        self._update(chain_key, lambda entries: entries | {deployment.transaction_hash: deployment})

    def remove(self, chain_key: str, deployment: Deployment) -> None:
        """Forget what never came to stand, or stands no more."""
        self._update(
            chain_key, lambda entries: {key: entries[key] for key in entries if key != deployment.transaction_hash}
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep out every other process of this machine that would write the book; BadInput if one is at it (P7)."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_name(f".{self.path.name}.lock").open("w")
        except OSError as error:
            raise BadInput(f"cannot use the address book {self.path}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BadInput(f"another process is deploying with the address book {self.path}") from error
            yield

    def _update(self, chain_key: str, change: Callable[[dict[str, Deployment]], dict[str, Deployment]]) -> None:
        content = self._load()
        entries = {entry.transaction_hash: entry for entry in content.chains.get(chain_key, [])}
        content.chains[chain_key] = list(change(entries).values())
        write_whole(self.path, content.model_dump_json(indent=1) + "\n", mode=0o600)

    def _load(self) -> _Content:
        try:
            return _Content.model_validate(strict_json(self.path.read_bytes()))
        except FileNotFoundError:
            return _Content()
        except OSError as error:
            raise BadInput(f"cannot read the address book {self.path}: {error.strerror}") from error
        except ValidationError as error:
            raise BadInput(f"{self.path} is no address book: {first_problem(error.errors())}") from None
        except ValueError as error:
            raise BadInput(f"{self.path} is no address book: {error}") from None
