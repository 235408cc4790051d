"""Rows that nobody without the journal's key can read, change, swap or move (K4, K8).

Rule kept: replies and a settlement that has not left yet show the marks of tasks that are not settled (protocol,
invariant 6), so what a row says is encrypted; what it needs in clear to be found is authenticated with it.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from validator.errors import BadInput

NONCE_BYTES = 12


class Box:
    """Seals with ChaCha20-Poly1305 (RFC 8439) under `key`, 32 bytes; `name` is the journal's, for messages."""

    def __init__(self, key: bytes, name: str) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self.name = name

    def seal(self, plain: bytes, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """What was sealed in the same context; BadInput if it was not."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except InvalidTag as error:
            raise BadInput(f"the journal {self.name} was written under another master seed, or is damaged") from error

    def seal_row(self, table: sa.Table, clear: Mapping[str, Any], body: bytes) -> dict[str, Any]:
        """The whole row: its columns in clear, and `sealed`."""
        return {**clear, "sealed": self.seal(body, _context(table, clear))}

    def unseal_row(self, table: sa.Table, row: Mapping[str, Any]) -> bytes:
        """The body of a row that is as it was written; BadInput if it is not."""
        return self.unseal(row["sealed"], _context(table, row))


def _context(table: sa.Table, row: Mapping[str, Any]) -> str:
    """The table and every column in clear, so that a row is valid in one place and with one content only."""
    return json.dumps([table.name, *(row[column.name] for column in table.c if column.name != "sealed")])
