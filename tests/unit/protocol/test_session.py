"""The bearer token: 121 bytes, one spelling (protocol, "Transport")."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import MINER, VALIDATOR
from validator.protocol.session import TOKEN_BYTES, SessionToken, parse_session_token

numbers = st.integers(0, 2**64 - 1)
TOKEN = SessionToken(VALIDATOR, MINER, 7, 1_800_000_000, b"\x1b" * 65)


@given(numbers, numbers, st.binary(min_size=65, max_size=65))
def test_tokens_come_back_as_they_were(nonce, expiry, signature):
    token = SessionToken(VALIDATOR, MINER, nonce, expiry, signature)
    assert parse_session_token(token.encode()) == token


def test_layout_is_validator_miner_nonce_expiry_signature():
    packed = bytes.fromhex(VALIDATOR[2:] + MINER[2:]) + (7).to_bytes(8, "big") + (1_800_000_000).to_bytes(8, "big")
    assert base64.urlsafe_b64decode(TOKEN.encode() + "==") == packed + TOKEN.signature
    assert len(packed + TOKEN.signature) == TOKEN_BYTES == 121


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "sk-test",
        TOKEN.encode()[:-1],
        TOKEN.encode() + "A",
        TOKEN.encode() + "AAAA",
        " " + TOKEN.encode(),
        TOKEN.encode() + "\n",
        "é" * 162,
        "!" * 162,
        "A" * 100_000,
    ],
)
def test_anything_but_a_token_is_refused(bad):
    with pytest.raises(ValueError, match="session token"):
        parse_session_token(bad)


def test_a_token_has_one_spelling():
    token = SessionToken(VALIDATOR, MINER, 2**64 - 1, 2**64 - 1, b"\xff\xfb" * 32 + b"\xf0")
    text = token.encode()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    next_letter = last[last.index(text[-1]) + 1]  # differs in bits that no byte uses
    assert "-" in text or "_" in text
    for other in (text + "==", text.replace("-", "+").replace("_", "/"), text[:-1] + next_letter):
        with pytest.raises(ValueError, match="session token"):
            parse_session_token(other)
