"""Keys in files: Web3 Secret Storage V3 keystores, and bare hex keys for development.

Rules kept: a password comes from a file or a systemd credential, never from an argument, the environment or a prompt,
and is never empty; a file that others can read is refused; opening a hostile keystore costs no more than an honest one
(H3); nothing is ever overwritten.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from eth_account import Account
from pydantic import AliasChoices, BaseModel, Field, StringConstraints, ValidationError, model_validator

from validator.edges.keys import LocalSigner, SecretBytes
from validator.errors import BadInput, first_problem
from validator.protocol.wire import strict_json

MAX_KEY_FILE_BYTES = 1 << 16
MAX_SCRYPT_BYTES = 256 << 20
"""What the parameters that geth and eth-account choose take: 128 * n * r * p at n = 2^18, r = 8, p = 1."""
MAX_PBKDF2_ITERATIONS = 10_000_000
SEED_BYTES = 32
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"


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


def load_key_file(path: Path) -> LocalSigner:
    """The key in a file of 64 hex digits, `0x` allowed before them.

    BadInput if the file is missing, readable by others, or holds anything else; the message never quotes it.
    """
    try:
        text = _read_private(path, "key file").decode("ascii").strip().removeprefix("0x")
    except UnicodeDecodeError:
        raise BadInput(f"the key file {path} must hold 64 hex digits") from None
    try:
        return LocalSigner(SecretBytes(bytes.fromhex(text)))
    except ValueError:
        raise BadInput(f"the key file {path} must hold 64 hex digits, a valid secp256k1 key") from None


def credential_file(name: str) -> Path:
    """Where systemd puts the credential `name` of a service (`LoadCredential=`); BadInput where there are none."""
    directory = os.environ.get(CREDENTIALS_VARIABLE)
    if not directory:
        raise BadInput(
            f"the credential {name} is one of systemd's, which gives this process none: "
            f"add LoadCredential={name}:... to the unit, or name a password_file"
        )
    return Path(directory) / name


def load_seed(path: Path) -> SecretBytes:
    """The master seed in a file of 64 hex digits; BadInput if it is missing, readable by others, or anything else."""
    try:
        seed = bytes.fromhex(_read_private(path, "master seed file").decode("ascii").strip())
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise BadInput(f"the master seed file {path} must hold {2 * SEED_BYTES} hex digits")
    return SecretBytes(seed)


def create_keystore(path: Path, secret: SecretBytes, password: SecretBytes) -> None:
    """Write the key as a V3 keystore that only its owner reads; takes up to a second. BadInput as `create_private`."""
    if password == SecretBytes(b""):
        raise BadInput(f"the keystore {path} needs a password")
    keystore = Account.encrypt(secret.reveal(), password.reveal(), kdf="scrypt")  # type: ignore[arg-type]  # as above
    create_private(path, json.dumps(keystore) + "\n")


def create_private(path: Path, text: str) -> None:
    """A new file that only its owner reads, on disk when this returns; BadInput if there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise BadInput(f"{path} is there already, and is never overwritten: move it away, or name another") from None
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from error


def load_keystore(path: Path, password_file: Path) -> LocalSigner:
    """The key in a Web3 Secret Storage V3 file, or in the one keystore of a directory; takes up to a second.

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
        signer = LocalSigner(SecretBytes(decrypted))
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


def read_api_key(path: Path) -> str:
    """The key to somebody's service, from a file that only this user can read; BadInput otherwise."""
    try:
        key = _read_private(path, "API key").decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadInput(f"the API key {path} is no text") from None
    if not key:
        raise BadInput(f"the API key {path} is empty")
    return key


def _read_private(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read the {kind} {path}: {error.strerror}") from error
    # systemd lets the service in by an access control list, which the mode shows as a group's right.
    others = 0o007 if path.parent == Path(os.environ.get(CREDENTIALS_VARIABLE, "/")) else 0o077
    if mode & others:
        raise BadInput(f"the {kind} {path} can be read by other users: chmod 600 it")
    if len(data) > MAX_KEY_FILE_BYTES:
        raise BadInput(f"the {kind} {path} is longer than {MAX_KEY_FILE_BYTES} bytes")
    return data
