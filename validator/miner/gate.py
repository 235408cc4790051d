"""The miner's door: who may come in, decided from the bearer token alone, before a byte of the body is read.

Rule kept (protocol, "Transport"): a staked validator's own signature over this miner's address, not expired, and no
nonce lower than the highest seen from that validator, which is kept over restarts; everything else is 401.
"""

import asyncio
import time
from pathlib import Path

from validator.edges.keys import recover_typed_data
from validator.json_lines import JsonLines
from validator.miner.chain_client import MinerChain
from validator.miner.objects import Refusal
from validator.protocol import typed_data
from validator.protocol.session import SessionToken, parse_session_token
from validator.types import Address

STAKED_SECONDS = 30.0
"""How long a validator's standing on chain is believed before it is read again."""
NOT_STAKED_SECONDS = 1.0
MAX_STRANGERS = 64
"""Keys cost nothing: how many without a standing may wait for the chain to be read, and how many are remembered."""


class Gate:
    """Admits sessions to one miner."""

    def __init__(self, chain: MinerChain, seen_path: Path) -> None:
        self._chain = chain
        self._seen = JsonLines(seen_path)
        self._highest_nonce: dict[Address, int] = {}
        for line in self._seen.load():
            self._highest_nonce[line["validator"]] = line["nonce"]
        self._staked_until_s: dict[Address, float] = {}
        self._strangers_until_s: dict[Address, float] = {}
        self._one_stranger = asyncio.Lock()
        self._strangers_waiting = 0

    async def admit(self, authorization: str | None) -> Address:
        """The validator behind an Authorization header; Refusal (401) if it may not come in."""
        scheme, _, text = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("a session token is needed as the bearer token (the API key)")
        try:
            token = parse_session_token(text.strip())
        except ValueError as error:
            raise _unauthorized(str(error)) from error
        self._check(token)
        if not await self._is_staked(token.validator):
            raise _unauthorized("this validator has no credit and no open task with this miner")
        # Nothing is awaited from here on: two requests cannot both pass with falling nonces.
        highest = self._highest_nonce.get(token.validator, -1)
        if token.nonce < highest:
            raise _unauthorized(f"a session with the nonce {highest} has replaced this one")
        if token.nonce > highest:
            self._seen.append({"validator": token.validator, "nonce": token.nonce})
            self._highest_nonce[token.validator] = token.nonce
        return token.validator

    def _check(self, token: SessionToken) -> None:
        if token.miner != self._chain.address:
            raise _unauthorized("the session token is for another miner")
        if token.expiry <= time.time():
            raise _unauthorized("the session token has expired")
        session = typed_data.session(token.validator, token.miner, token.nonce, token.expiry)
        if recover_typed_data(self._chain.domain, session, token.signature) != token.validator:
            raise _unauthorized("the session token is not signed by its validator")

    async def _is_staked(self, validator: Address) -> bool:
        now_s = time.monotonic()
        if validator in self._staked_until_s:  # it does not wait for strangers, not even when it is looked up again
            return now_s < self._staked_until_s[validator] or await self._look_up(validator)
        if now_s < self._strangers_until_s.get(validator, 0.0):
            return False
        if self._strangers_waiting >= MAX_STRANGERS:
            raise Refusal(503, "too many unknown validators at once", "unavailable")
        self._strangers_waiting += 1
        try:
            async with self._one_stranger:
                return await self._look_up(validator)
        finally:
            self._strangers_waiting -= 1

    async def _look_up(self, validator: Address) -> bool:
        is_staked = await self._chain.is_staked(validator)
        now_s = time.monotonic()
        if is_staked:
            self._staked_until_s[validator] = now_s + STAKED_SECONDS
            return True
        self._staked_until_s.pop(validator, None)
        while len(self._strangers_until_s) >= MAX_STRANGERS:
            self._strangers_until_s.pop(next(iter(self._strangers_until_s)))
        self._strangers_until_s[validator] = now_s + NOT_STAKED_SECONDS
        return False


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, message, "invalid_session")
