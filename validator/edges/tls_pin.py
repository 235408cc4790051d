"""TLS to the one key that a miner registered: any certificate, no authority, no name (protocol, "Transport").

Rule kept: the key is compared inside the handshake, so before it has been found right there is no connection that a
byte of a request, and with it the session token, could be sent over (N16).
"""

import hashlib
import ssl

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from validator.types import Hash32


def make_pinned_context(tls_key_hash: Hash32) -> ssl.SSLContext:
    """A client's context, TLS 1.2 or newer, whose handshakes fail unless the peer proves to hold this very key.

    The hash is SHA-256 over the DER of the SubjectPublicKeyInfo (RFC 7469). That the peer holds the private key is
    checked by every handshake, with or without an authority.
    """

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if hash_public_key(self.getpeercert(binary_form=True)) != tls_key_hash:
                raise ssl.SSLCertVerificationError("the TLS key is not the one that the miner registered")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION  # a second handshake would not be looked at
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = PinnedObject
    return context


def hash_public_key(certificate: bytes | None) -> bytes | None:
    """SHA-256 of a DER certificate's SubjectPublicKeyInfo; None if its key cannot be read, so is nobody's."""
    try:
        key = x509.load_der_x509_certificate(certificate or b"").public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    except (ValueError, UnsupportedAlgorithm):
        return None
