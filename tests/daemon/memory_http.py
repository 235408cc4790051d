"""The way to the memory miners, in the place of `validator/edges/http.py`: `open_session` and `request_json`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.daemon.memory_miner import MemoryMiner
from tests.daemon.memory_rpc import Wire
from validator.edges.http import RETRY_STATUS
from validator.errors import MinerFault, Transient
from validator.miner.objects import Refusal
from validator.types import Hash32

WIRE_S = 0.05
"""Of a request, and of its answer, on their way."""


class MemoryHttp:
    """In the place of HttpClient: the miners by their URLs."""

    def __init__(self, miners: Sequence[MemoryMiner], wire: Wire) -> None:
        self._miners = {miner.url: miner for miner in miners}
        self._wire = wire

    def open_session(self, url: str, _tls_key_hash: Hash32) -> "MemorySession":
        return MemorySession(self._miners[url], self._wire)


class MemorySession:
    """In the place of MinerSession."""

    def __init__(self, miner: MemoryMiner, wire: Wire) -> None:
        self._miner = miner
        self._wire = wire

    async def request_json(
        self, method: str, path: str, *, token: str, json: Any = None, form: Mapping[str, Any] | None = None
    ) -> Any:
        await asyncio.sleep(WIRE_S)
        self._wire.before(f"{method} {path}", json)
        try:
            answer = await self._miner.serve(method, path, token, json, form)
        except Refusal as refusal:
            kind = Transient if refusal.status in RETRY_STATUS else MinerFault
            raise kind(f"{method} {path}: HTTP {refusal.status}: {refusal}") from None
        self._wire.after(f"{method} {path}", json)
        await asyncio.sleep(WIRE_S)
        return answer
