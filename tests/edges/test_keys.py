"""Signing, recovering, deriving; and that no key shows itself."""

import random
import traceback
from typing import Any

import pytest

from validator.edges.keys import (
    CURVE_ORDER,
    LocalSigner,
    SecretBytes,
    check_transaction,
    derive_signer,
    dev_mnemonic_signer,
    recover_typed_data,
)
from validator.protocol import typed_data
from validator.types import Address, Hash32, TaskId

KEY = bytes(range(1, 33))
VALIDATOR = LocalSigner(SecretBytes(KEY))
CONTRACT = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
DOMAIN = typed_data.domain(31337, CONTRACT)
TRANSCRIPT = typed_data.transcript(TaskId(b"\1" * 32), Hash32(b"\2" * 32), Hash32(b"\3" * 32), Hash32(b"\4" * 32))


async def test_a_signature_recovers_to_its_signer() -> None:
    signature = await VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    assert len(signature) == 65
    assert recover_typed_data(DOMAIN, TRANSCRIPT, signature) == VALIDATOR.address


@pytest.mark.parametrize("domain", [typed_data.domain(1, CONTRACT), typed_data.domain(31337, VALIDATOR.address)])
async def test_a_signature_counts_on_one_chain_and_for_one_contract(domain: dict[str, object]) -> None:
    """C10: on another chain or for another contract it belongs to somebody else."""
    signature = await VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    assert recover_typed_data(domain, TRANSCRIPT, signature) != VALIDATOR.address


async def test_a_signature_has_one_valid_encoding() -> None:
    signature = await VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high_s = r + (CURVE_ORDER - s).to_bytes(32, "big") + bytes([55 - v])
    for other in (
        high_s,
        signature[:64] + bytes([v - 27]),
        signature[:64],
        signature + b"\0",
        bytes(65),
        bytes(64) + b"\x1b",
        b"\xff" * 32 + signature[32:],
        r + bytes(32) + bytes([v]),
        b"",
    ):
        assert recover_typed_data(DOMAIN, TRANSCRIPT, other) is None


async def test_any_65_bytes_recover_to_somebody_or_nobody() -> None:
    signature = await VALIDATOR.sign_typed_data(DOMAIN, TRANSCRIPT)
    for first_byte in range(256):
        recovered = recover_typed_data(DOMAIN, TRANSCRIPT, bytes([first_byte]) + signature[1:])
        assert (recovered == VALIDATOR.address) == (first_byte == signature[0])


def test_no_key_shows_in_representations_or_tracebacks() -> None:
    """H5."""
    secret = SecretBytes(KEY)
    try:
        raise ValueError(secret, LocalSigner(secret))
    except ValueError:
        shown = traceback.format_exc()
    shown += f"{secret} {secret!r} {[secret]} {LocalSigner(secret)!r} {vars(LocalSigner(secret))}"
    assert KEY.hex() not in shown
    assert repr(KEY) not in shown
    assert "SecretBytes(redacted)" in shown


def test_secrets_are_equal_by_content() -> None:
    assert SecretBytes(b"a") == SecretBytes(b"a")
    assert SecretBytes(b"a") != SecretBytes(b"b")
    assert SecretBytes(b"a") != b"a"


@pytest.mark.parametrize("secret", [b"", KEY[:31], KEY + b"\0", bytes(32), CURVE_ORDER.to_bytes(32, "big")])
def test_what_is_no_private_key_makes_no_signer(secret: bytes) -> None:
    with pytest.raises(ValueError, match="between 1 and the curve order"):
        LocalSigner(SecretBytes(secret))


def test_derived_keys_depend_on_seed_and_role_alone() -> None:
    addresses = {derive_signer(seed, role).address for seed in (b"one", b"two") for role in ("payer", "miner 1")}
    assert len(addresses) == 4
    assert derive_signer(b"one", "payer").address == derive_signer(b"one", "payer").address


def test_the_public_mnemonic_gives_anvils_accounts() -> None:
    assert dev_mnemonic_signer(0).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert dev_mnemonic_signer(9).address == "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"


TRANSACTION: dict[str, Any] = {
    "type": 2,
    "chainId": 31337,
    "nonce": 7,
    "maxFeePerGas": 2 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "gas": 100_000,
    "value": 5,
    "data": b"\x12\x34\x56\x78" + bytes(32),
    "to": CONTRACT,
}
OTHERS = {
    "chainId": 1,
    "nonce": 8,
    "maxFeePerGas": 2 * 10**9 + 1,
    "maxPriorityFeePerGas": 10**9 - 1,
    "gas": 99_999,
    "value": 0,
    "data": b"",
    "to": VALIDATOR.address,
}


@pytest.mark.parametrize(
    "changes", [{}, {"to": None, "data": b"\x60"}, {"value": 0, "nonce": 0, "data": b""}], ids=repr
)
async def test_a_signed_transaction_is_the_one_that_was_asked_for(changes: dict[str, Any]) -> None:
    transaction = TRANSACTION | changes
    check_transaction(await VALIDATOR.sign_transaction(transaction), transaction, VALIDATOR.address)


@pytest.mark.parametrize("name", OTHERS)
async def test_a_transaction_with_another_field_is_told_from_the_one_that_was_asked_for(name: str) -> None:
    """H8."""
    raw = await VALIDATOR.sign_transaction(TRANSACTION | {name: OTHERS[name]})
    with pytest.raises(ValueError, match=f"another {name} than was asked for"):
        check_transaction(raw, TRANSACTION, VALIDATOR.address)


async def test_a_transaction_has_one_valid_encoding() -> None:
    """W7: whatever other bytes are made of a signed transaction, they are none."""
    raw = await VALIDATOR.sign_transaction(TRANSACTION)
    draw = random.Random(0)
    for _ in range(2_000):
        other = bytearray(raw)
        match draw.randrange(4):
            case 0:
                other[draw.randrange(len(raw))] ^= draw.randrange(1, 256)
            case 1:
                del other[draw.randrange(len(raw)) :]
            case 2:
                other += draw.randbytes(draw.randrange(1, 5))
            case 3:
                other.insert(draw.randrange(len(raw)), draw.randrange(256))
        if other != raw:
            with pytest.raises(ValueError, match=r"another|no signed transaction"):
                check_transaction(bytes(other), TRANSACTION, VALIDATOR.address)
