"""Encodings of a good signature that no call may take (row W7), with the reason that each must give."""

from collections.abc import Callable

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Tamper = Callable[[bytes], bytes]


def _malleable(signature: bytes) -> bytes:
    """The other signature of the same key over the same bytes: s negated, v flipped."""
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def _compact(signature: bytes) -> bytes:
    """EIP-2098: 64 bytes, the parity in the top bit of s."""
    parity = signature[64] - 27
    return signature[:32] + bytes([signature[32] | parity << 7]) + signature[33:64]


INVALID_SIGNATURES: list[tuple[Tamper, str]] = [
    (_malleable, "signature: high s"),
    (_compact, "signature: not 65 bytes"),
    (lambda signature: signature[:64], "signature: not 65 bytes"),
    (lambda _: b"", "signature: not 65 bytes"),
    (lambda signature: signature + b"\0", ""),
    (lambda _: bytes(65), "signature: v"),
    (lambda signature: signature[:64] + bytes([signature[64] - 27]), "signature: v"),
    (lambda signature: signature[:64] + bytes([signature[64] + 2]), "signature: v"),
    (lambda _: bytes(64) + b"\x1b", "signature: invalid"),
    (lambda signature: b"\xff" * 32 + signature[32:], "signature: invalid"),
    (lambda signature: signature[:64] + bytes([55 - signature[64]]), "signature: another signer"),
]
