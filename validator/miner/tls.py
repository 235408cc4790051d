"""The miner's TLS key: made here, known to the world by its hash on chain, certified by nobody (protocol, "Transport").

Rule kept: the key is made once and kept, because registering another one would end what runs under the old.
"""

import datetime
import hashlib
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from validator.errors import BadInput
from validator.types import Hash32

NO_TLS_KEY = Hash32(bytes(32))
"""What a miner without TLS registers."""
LIFETIME = datetime.timedelta(days=36_500)
"""Of a certificate that nobody reads for its dates."""


class TlsIdentity:
    """A key and a certificate for it in one PEM file, made on first use. BadInput if the file holds neither."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            _write_new(path)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        try:
            self.context.load_cert_chain(path)
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (ssl.SSLError, ValueError) as error:
            raise BadInput(f"{path} holds no TLS key and certificate: remove it for a new one") from error
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key_hash = Hash32(hashlib.sha256(key).digest())
        """SHA-256 of the SubjectPublicKeyInfo: the `tls_key_hash` of the registration."""


def _write_new(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "touchstone-miner")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + LIFETIME)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret + certificate)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
