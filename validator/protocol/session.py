"""The bearer token that opens a miner's door: an EIP-712 `Session` in 121 bytes (protocol, "Transport").

Rule kept: this module only packs and parses. Whoever serves must check the signature, the parties, the expiry, and
that the nonce is not lower than the highest it has seen from that validator (an older token is a replay).
"""

import base64
import binascii
from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from validator.types import Address, UnixSeconds

TOKEN_BYTES = 20 + 20 + 8 + 8 + 65


@dataclass(frozen=True, slots=True)
class SessionToken:
    validator: Address
    miner: Address
    nonce: int
    expiry: UnixSeconds
    signature: bytes

    def encode(self) -> str:
        """The token as it stands behind `Authorization: Bearer`."""
        packed = (
            bytes.fromhex(self.validator[2:])
            + bytes.fromhex(self.miner[2:])
            + self.nonce.to_bytes(8, "big")
            + self.expiry.to_bytes(8, "big")
            + self.signature
        )
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def parse_session_token(text: str) -> SessionToken:
    """Read a bearer token; raises ValueError on anything but the exact shape."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the session token is not base64url") from error
    if len(packed) != TOKEN_BYTES:
        raise ValueError(f"a session token has {TOKEN_BYTES} bytes, this one {len(packed)}")
    token = SessionToken(
        validator=Address(to_checksum_address(packed[:20])),
        miner=Address(to_checksum_address(packed[20:40])),
        nonce=int.from_bytes(packed[40:48], "big"),
        expiry=UnixSeconds(int.from_bytes(packed[48:56], "big")),
        signature=packed[56:],
    )
    if token.encode() != text:
        raise ValueError("the session token is not spelt as base64url without padding")
    return token
