"""Files that nobody without the key can read, change, swap or move: customers' data, and the marks in it.

Rule kept: D beside D_train shows the marks (protocol, "Marks"), so neither is ever on disk in clear.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from validator.errors import BadInput
from validator.files import file_error, write_whole

NONCE_BYTES, TAG_BYTES = 12, 16


class SealedFiles:
    """Seals with ChaCha20-Poly1305 (RFC 8439) under `key`, 32 bytes; a file is bound to its name and its folder's."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def write(self, path: Path, plain: bytes) -> None:
        """Whole or not at all (K7); BadInput if the place cannot be written."""
        nonce = os.urandom(NONCE_BYTES)
        write_whole(path, nonce + self._cipher.encrypt(nonce, plain, _context(path)), mode=0o600)

    def read(self, path: Path) -> bytes:
        """What was written under this name; BadInput if it was not, or cannot be read."""
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise file_error("read", path, error) from error
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _context(path))
        except (InvalidTag, ValueError) as error:
            raise BadInput(f"{path} was written under another master seed, or is damaged: restore it") from error


def _context(path: Path) -> bytes:
    return f"{path.parent.name}/{path.name}".encode()
