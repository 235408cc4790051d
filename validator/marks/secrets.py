"""Everything secret is derived from one master seed, never stored first (protocol, "Marks").

Rule kept: the same dataset is always offered byte-identical, because two differently marked copies of one dataset would
reveal the marks by comparison. So draws depend on the dataset and its terms, never on the task; only the salt is per
task.
"""

from collections.abc import Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_abi.abi import encode as abi_encode

from validator.types import Address, Hash32

T = TypeVar("T")


class Secrets:
    """Derives the secrets of one validator on one contract from its master seed (at least 32 bytes)."""

    def __init__(self, master_seed: bytes, chain_id: int, contract: Address) -> None:
        if len(master_seed) < 32:
            raise ValueError("the master seed must have at least 32 bytes")
        self._master_seed = master_seed
        self._place = (chain_id, contract)

    def __repr__(self) -> str:
        return "Secrets(<redacted>)"

    def draw_stream(self, payer: Address, source_data_hash: bytes, scheme: str, n: int, w: int) -> "DrawStream":
        """The stream that decides which rows are marked and how."""
        return DrawStream(self._of_dataset("draw", payer, source_data_hash, scheme, n, w))

    def dataset_salt(self, payer: Address, source_data_hash: bytes, scheme: str, n: int, w: int) -> Hash32:
        """`datasetSalt`: goes to the miner with the data and is published with the bundle."""
        return Hash32(self._of_dataset("dataset-salt", payer, source_data_hash, scheme, n, w))

    def of_dataset(self, payer: Address, source_data_hash: bytes, scheme: str, n: int, w: int) -> "DatasetSecrets":
        """What planting one dataset needs, and nothing else: fit to be handed to another process or machine."""
        of = (payer, source_data_hash, scheme, n, w)
        return DatasetSecrets(of, self._of_dataset("draw", *of), self.dataset_salt(*of))

    def commitment_salt(self, validator: Address, validator_nonce: int) -> Hash32:
        """The salt that opens one task's commitment."""
        info = abi_encode(
            ["string", "uint256", "address", "address", "uint256"], ["salt", *self._place, validator, validator_nonce]
        )
        return Hash32(_derive(self._master_seed, info))

    def _of_dataset(self, label: str, payer: Address, source_data_hash: bytes, scheme: str, n: int, w: int) -> bytes:
        types = ["string", "uint256", "address", "address", "bytes32", "string", "uint256", "uint256"]
        info = abi_encode(types, [label, *self._place, payer, source_data_hash, scheme, n, w])
        return _derive(self._master_seed, info)


class DatasetSecrets:
    """The secrets of one planting, where the master seed must not go; any other is a KeyError."""

    def __init__(self, of: tuple[Address, bytes, str, int, int], draw_key: bytes, salt: Hash32) -> None:
        self._of = of
        self._draw_key = draw_key
        self._salt = salt

    def __repr__(self) -> str:
        return "DatasetSecrets(<redacted>)"

    def draw_stream(self, payer: Address, source_data_hash: bytes, scheme: str, n: int, w: int) -> "DrawStream":
        self._check(payer, source_data_hash, scheme, n, w)
        return DrawStream(self._draw_key)

    def dataset_salt(self, payer: Address, source_data_hash: bytes, scheme: str, n: int, w: int) -> Hash32:
        self._check(payer, source_data_hash, scheme, n, w)
        return self._salt

    def _check(self, *of: object) -> None:
        if of != self._of:
            raise KeyError("the secrets of another dataset")


def derive_journal_key(master_seed: bytes) -> bytes:
    """The 32 bytes that seal what a validator's journal says."""
    return _derive(master_seed, b"journal")


def derive_dataset_key(master_seed: bytes) -> bytes:
    """The 32 bytes that seal the customers' datasets and their marks."""
    return _derive(master_seed, b"datasets")


def derive_bundle_key(master_seed: bytes) -> bytes:
    """The 32 bytes that seal the evidence of tasks that are not settled yet."""
    return _derive(master_seed, b"bundles")


def derive_stream(seed: bytes, label: str) -> "DrawStream":
    """A stream for what a planting without any chain decides beside its marks; one for each label."""
    return DrawStream(_derive(seed, abi_encode(["string", "string"], ["verification", label])))


def _derive(master_seed: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(master_seed)


class DrawStream:
    """A deterministic CSPRNG: the ChaCha20 keystream of a derived key, read as exactly uniform integers."""

    def __init__(self, key: bytes) -> None:
        self._keystream = Cipher(ChaCha20(key, b"\0" * 16), mode=None).encryptor()

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound), by rejection, so no residue is likelier than another."""
        limit = 2**64 - 2**64 % bound
        while (value := int.from_bytes(self._keystream.update(b"\0" * 8), "big")) >= limit:
            pass
        return value % bound

    def sample(self, population: Sequence[T], count: int) -> list[T]:
        """`count` different members, every subset equally likely (a partial Fisher-Yates shuffle)."""
        pool = list(population)
        for i in range(count):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]
