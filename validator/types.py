"""Plain values whose kind or unit would otherwise have to be guessed from a variable name."""

from typing import NewType

Address = NewType("Address", str)
"""An EVM account or contract, EIP-55 checksummed."""

Hash32 = NewType("Hash32", bytes)
"""32 bytes out of keccak-256 or SHA-256."""

TaskId = NewType("TaskId", bytes)
"""`taskId` of the protocol, 32 bytes."""

Wei = NewType("Wei", int)
BlockNumber = NewType("BlockNumber", int)

UnixSeconds = NewType("UnixSeconds", int)
"""Seconds since 1970 as the chain counts them."""

EffectKey = NewType("EffectKey", str)
"""Names one effect for ever: the same key is never carried out with another content."""
