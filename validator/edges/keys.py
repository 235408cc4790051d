"""The only holder of private keys: it signs transactions and EIP-712 structs, and hands no key out.

Rules kept: no secret shows in a repr, a log line or a traceback (H5), and only typed data and transactions are signed,
never a bare hash (H8). Where keys come from: `key_files.py`; who signs for a key that is elsewhere: `remote_signer.py`.
"""

import hmac
from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_account.messages import encode_typed_data
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError as BadSignatureValue
from hexbytes import HexBytes
from rlp.exceptions import RLPException

from validator.protocol.typed_data import TypedData
from validator.types import Address

SIGNATURE_BYTES = 65
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order n of secp256k1 (SEC 2, section 2.4.1)."""

DEV_MNEMONIC = "test test test test test test test test test test test junk"
DEV_HD_PATH = "m/44'/60'/0'/0"
"""Where anvil derives its accounts; known to everybody, so worth nothing outside a development chain."""


class SecretBytes:
    """Bytes that never print themselves; `reveal()` is the one way to read them."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return "SecretBytes(redacted)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretBytes) and hmac.compare_digest(self._value, other._value)


class Signer(Protocol):
    """What signs for one address: only whole transactions and EIP-712 structs, never a bare hash (H8)."""

    @property
    def address(self) -> Address: ...

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The signed bytes, ready for `eth_sendRawTransaction`, of a transaction with every field filled in."""

    async def sign_typed_data(self, domain: dict[str, Any], data: TypedData) -> bytes:
        """65 bytes r, s, v over the EIP-712 struct; v is 27 or 28 and s is low (RFC 6979, EIP-2)."""


class LocalSigner:
    """A secp256k1 key in memory. Raises ValueError if the secret is not a valid key."""

    def __init__(self, secret: SecretBytes) -> None:
        if len(secret.reveal()) != 32 or not 0 < int.from_bytes(secret.reveal(), "big") < CURVE_ORDER:
            raise ValueError("a private key is 32 bytes between 1 and the curve order")
        self._account = Account.from_key(secret.reveal())

    @property
    def address(self) -> Address:
        return Address(self._account.address)

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)

    async def sign_typed_data(self, domain: dict[str, Any], data: TypedData) -> bytes:
        signable = encode_typed_data(domain, data.types, data.message)
        return bytes(self._account.sign_message(signable).signature)


def recover_typed_data(domain: dict[str, Any], data: TypedData, signature: bytes) -> Address | None:
    """Who signed the EIP-712 struct, or None where the contract would not accept the signature either.

    Exactly 65 bytes with v of 27 or 28 and a low s (protocol, "Canonical bytes"): a second encoding of one
    signature is never valid.
    """
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        return None
    if int.from_bytes(signature[32:64], "big") > CURVE_ORDER // 2:
        return None
    signable = encode_typed_data(domain, data.types, data.message)
    try:
        return Address(to_checksum_address(Account.recover_message(signable, signature=signature)))
    except (BadSignature, BadSignatureValue):
        return None


def check_transaction(raw: bytes, transaction: Mapping[str, Any], signer: Address) -> None:
    """ValueError unless `raw` is exactly this EIP-1559 transaction, signed by `signer` in the one valid way (EIP-2)."""
    try:
        decoded = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        by = Account.recover_transaction(raw)
    except (AttributeError, BadSignature, BadSignatureValue, RLPException, TypeError, ValueError):
        raise ValueError("this is no signed transaction of a known type") from None
    wanted = {"accessList": (), "to": None} | dict(transaction)
    for name, value in wanted.items():
        if _plain(decoded.get(name)) != _plain(value):
            raise ValueError(f"another {name} than was asked for")
    if decoded["v"] not in (0, 1) or decoded["s"] > CURVE_ORDER // 2 or by != signer:
        raise ValueError("another signature than the key would make")
    signature = {name: decoded[name] for name in ("v", "r", "s")}
    if TypedTransaction.from_dict(wanted | signature).encode() != raw:
        raise ValueError("another encoding than the one that nodes take")


def _plain(value: Any) -> Any:
    """A field in the one form of the several that eth-account takes and gives."""
    if isinstance(value, str):
        value = bytes.fromhex(value.removeprefix("0x"))
    return tuple(value) if isinstance(value, list) else value or (0 if isinstance(value, int) else b"")


def derive_secret(seed: bytes, role: str) -> SecretBytes:
    """The private key of `role` under a master seed: the same seed and role always give the same key.

    HKDF-SHA256 to 48 bytes, reduced modulo n - 1, which leaves no measurable bias (FIPS 186-5, A.2.1).
    """
    wide = HKDF(SHA256(), length=48, salt=None, info=b"Touchstone key|" + role.encode()).derive(seed)
    return SecretBytes((int.from_bytes(wide, "big") % (CURVE_ORDER - 1) + 1).to_bytes(32, "big"))


def derive_signer(seed: bytes, role: str) -> LocalSigner:
    """The signer that holds `derive_secret(seed, role)`."""
    return LocalSigner(derive_secret(seed, role))


def dev_mnemonic_signer(index: int) -> LocalSigner:
    """Account `index` of the public test mnemonic, funded on embedded and anvil chains."""
    seed = seed_from_mnemonic(DEV_MNEMONIC, "")
    return LocalSigner(SecretBytes(key_from_seed(seed, f"{DEV_HD_PATH}/{index}")))
