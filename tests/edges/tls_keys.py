"""TLS servers with keys and certificates of every kind, none of them certified by anybody."""

import datetime
import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from validator.types import Hash32

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def new_key(kind: str = "P-256") -> Key:
    match kind:
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "RSA":
            return rsa.generate_private_key(65_537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def hash_of(key: Key) -> Hash32:
    """What a miner with this key registers."""
    return Hash32(
        hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    )


def make_context(directory: Path, key: Key, *, common_name: str = "anything", days: int = 1) -> ssl.SSLContext:
    """A server's context; `days` of validity from yesterday on, negative for a certificate that has run out."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    start = end - datetime.timedelta(days=abs(days) + 1)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end)
    certificate = builder.sign(key, algorithm)
    path = directory / f"{certificate.serial_number:x}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
