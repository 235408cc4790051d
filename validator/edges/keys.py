"""The only holder of private keys: it signs transactions and EIP-712 structs, and hands no key out.

Rules kept: no secret shows in a repr, a log line or a traceback (H5), only typed data and transactions are signed,
never a bare hash (H8), and a password comes from a file, never from an argument, the environment or a prompt.
"""

import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic
from eth_account.messages import encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError as BadSignatureValue
from pydantic import AliasChoices, BaseModel, Field, StringConstraints, ValidationError, model_validator

from validator.errors import BadInput, first_problem
from validator.protocol.typed_data import TypedData
from validator.protocol.wire import strict_json
from validator.types import Address

SIGNATURE_BYTES = 65
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order n of secp256k1 (SEC 2, section 2.4.1)."""

DEV_MNEMONIC = "test test test test test test test test test test test junk"
DEV_HD_PATH = "m/44'/60'/0'/0"
"""Where anvil derives its accounts; known to everybody, so worth nothing outside a development chain."""

MAX_KEY_FILE_BYTES = 1 << 16
MAX_SCRYPT_BYTES = 256 << 20
"""What the parameters that geth and eth-account choose take: 128 * n * r * p at n = 2^18, r = 8, p = 1."""
MAX_PBKDF2_ITERATIONS = 10_000_000


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


class Signer:
    """A secp256k1 key in memory. Raises ValueError if the secret is not a valid key."""

    def __init__(self, secret: SecretBytes) -> None:
        if len(secret.reveal()) != 32 or not 0 < int.from_bytes(secret.reveal(), "big") < CURVE_ORDER:
            raise ValueError("a private key is 32 bytes between 1 and the curve order")
        self._account = Account.from_key(secret.reveal())

    @property
    def address(self) -> Address:
        return Address(self._account.address)

    def __repr__(self) -> str:
        return f"Signer({self.address})"

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The signed bytes, ready for `eth_sendRawTransaction`, of a transaction with every field filled in."""
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)

    def sign_typed_data(self, domain: dict[str, Any], data: TypedData) -> bytes:
        """65 bytes r, s, v over the EIP-712 struct; v is 27 or 28 and s is low (RFC 6979, EIP-2)."""
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


def derive_secret(seed: bytes, role: str) -> SecretBytes:
    """The private key of `role` under a master seed: the same seed and role always give the same key.

    HKDF-SHA256 to 48 bytes, reduced modulo n - 1, which leaves no measurable bias (FIPS 186-5, A.2.1).
    """
    wide = HKDF(SHA256(), length=48, salt=None, info=b"Touchstone key|" + role.encode()).derive(seed)
    return SecretBytes((int.from_bytes(wide, "big") % (CURVE_ORDER - 1) + 1).to_bytes(32, "big"))


def derive_signer(seed: bytes, role: str) -> Signer:
    """The signer that holds `derive_secret(seed, role)`."""
    return Signer(derive_secret(seed, role))


def dev_mnemonic_signer(index: int) -> Signer:
    """Account `index` of the public test mnemonic, funded on embedded and anvil chains."""
    seed = seed_from_mnemonic(DEV_MNEMONIC, "")
    return Signer(SecretBytes(key_from_seed(seed, f"{DEV_HD_PATH}/{index}")))


def _hex(bytes_: str) -> StringConstraints:
    return StringConstraints(pattern=f"^([0-9a-fA-F]{{2}}){bytes_}$")


class _Scrypt(BaseModel, strict=True):
    dklen: Literal[32]
    n: int = Field(gt=1)
    r: int = Field(gt=0)
    p: int = Field(gt=0)
    salt: Annotated[str, _hex("*")]

    @model_validator(mode="after")
    def _check_cost(self) -> Self:
        if 128 * self.n * self.r * self.p > MAX_SCRYPT_BYTES:
            raise ValueError(f"scrypt would take more than {MAX_SCRYPT_BYTES >> 20} MiB")
        if self.n & (self.n - 1):
            raise ValueError("n of scrypt must be a power of two")
        return self


class _Pbkdf2(BaseModel, strict=True):
    dklen: Literal[32]
    c: int = Field(gt=0, le=MAX_PBKDF2_ITERATIONS)
    prf: Literal["hmac-sha256"]
    salt: Annotated[str, _hex("*")]


class _CipherParams(BaseModel, strict=True):
    iv: Annotated[str, _hex("{16}")]


class _Crypto(BaseModel, strict=True):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParams
    ciphertext: Annotated[str, _hex("{32}")]
    mac: Annotated[str, _hex("{32}")]


class _ScryptCrypto(_Crypto):
    kdf: Literal["scrypt"]
    kdfparams: _Scrypt


class _Pbkdf2Crypto(_Crypto):
    kdf: Literal["pbkdf2"]
    kdfparams: _Pbkdf2


class _Keystore(BaseModel, strict=True):
    """What is used of a Web3 Secret Storage file; others (id, name) are allowed. The first clients wrote "Crypto"."""

    version: Literal[3]
    crypto: _ScryptCrypto | _Pbkdf2Crypto = Field(
        validation_alias=AliasChoices("crypto", "Crypto"), discriminator="kdf"
    )
    address: Annotated[str, StringConstraints(pattern="^(0x)?[0-9a-fA-F]{40}$", to_lower=True)] | None = None


def load_key_file(path: Path) -> Signer:
    """The key in a file of 64 hex digits, `0x` allowed before them.

    BadInput if the file is missing, readable by others, or holds anything else; the message never quotes it.
    """
    try:
        text = _read_private(path, "key file").decode("ascii").strip().removeprefix("0x")
    except UnicodeDecodeError:
        raise BadInput(f"the key file {path} must hold 64 hex digits") from None
    try:
        return Signer(SecretBytes(bytes.fromhex(text)))
    except ValueError:
        raise BadInput(f"the key file {path} must hold 64 hex digits, a valid secp256k1 key") from None


def load_keystore(path: Path, password_file: Path) -> Signer:
    """The key in a Web3 Secret Storage V3 file, or in the one keystore of a directory; takes up to half a second.

    The password is the whole of `password_file` but for one line end. BadInput if a file is missing, readable by
    others or malformed, if the password is empty or wrong, if opening would cost too much (H3), or if the keystore
    names another address than its key has (H4).
    """
    if path.is_dir():
        path = _only_keystore(path)
    password = SecretBytes(_read_private(password_file, "password file").removesuffix(b"\n").removesuffix(b"\r"))
    if password == SecretBytes(b""):
        raise BadInput(f"the password file {password_file} is empty")
    try:
        keystore = _Keystore.model_validate(strict_json(_read_private(path, "keystore")))
    except ValidationError as error:
        raise BadInput(f"{path} is no V3 keystore that can be used: {first_problem(error.errors())}") from None
    except ValueError as error:
        raise BadInput(f"{path} is no V3 keystore: {error}") from None
    try:
        decrypted = Account.decrypt(keystore.model_dump(), password.reveal())  # type: ignore[arg-type]  # bytes will do
    except ValueError:
        raise BadInput(f"the password in {password_file} does not open the keystore {path}") from None
    try:
        signer = Signer(SecretBytes(decrypted))
    except ValueError:
        raise BadInput(f"the keystore {path} holds no valid secp256k1 key") from None
    if keystore.address is not None and keystore.address.removeprefix("0x") != signer.address[2:].lower():
        raise BadInput(f"the keystore {path} says {keystore.address}, but its key is that of {signer.address}")
    return signer


def _only_keystore(directory: Path) -> Path:
    try:
        files = [path for path in sorted(directory.iterdir()) if path.is_file() and path.name[0] != "."]
        keystores = [path for path in files if _first_byte(path) == b"{"]
    except OSError as error:
        raise BadInput(f"cannot read {error.filename}: {error.strerror}") from error
    if len(keystores) != 1:
        raise BadInput(f"the directory {directory} holds {len(keystores)} keystores: name one file")
    return keystores[0]


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def _read_private(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read the {kind} {path}: {error.strerror}") from error
    if mode & 0o077:
        raise BadInput(f"the {kind} {path} can be read by other users: chmod 600 it")
    if len(data) > MAX_KEY_FILE_BYTES:
        raise BadInput(f"the {kind} {path} is longer than {MAX_KEY_FILE_BYTES} bytes")
    return data
