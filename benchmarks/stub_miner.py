"""`python -m benchmarks.stub_miner`: a miner that has no model; it looks replies up in a table, and signs what it said.

Pinned TLS as a registered miner has it. It writes `{"url", "tls_key_hash"}` as one line once it serves, and ends with
its standard input.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp import web

from tests import factories as f
from tests.edges.loopback import serving
from tests.edges.tls_keys import hash_of, make_context, new_key
from validator.edges.keys import derive_signer
from validator.protocol import typed_data
from validator.protocol.commitment import SEPARATOR, hash_head, hash_prompt, hash_replies, split_head
from validator.protocol.wire import parse_probe
from validator.types import Hash32

W, MAX_TOKENS, N = 4, 32, 16
SALT, MARKS_HASH = f.digest("salt"), f.digest("marks")
DOMAIN = typed_data.domain(f.CHAIN_ID, f.CONTRACT)
EVIDENCE_SIGNER = derive_signer(bytes(32), "evidence")
TABLE = {row.prompt: row.response for row in f.make_rows(N)}
REPLY_WORDS = 8
"""Of a row's response: about what `MAX_TOKENS` leave."""


class StubMiner:
    """Answers `/chat/completions` and `/transcript` of one task; no session is checked."""

    def __init__(self) -> None:
        self._replies = {prompt: SEPARATOR.join(text.split()[:REPLY_WORDS]) for prompt, text in TABLE.items()}
        self._reply_hashes = {
            hash_prompt(SALT, prompt): hash_head(SALT, split_head(reply, W)[0])
            for prompt, reply in self._replies.items()
        }

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.path.endswith("/transcript"):
            return web.json_response({"signature": await self._sign(body["prompt_hashes"])})
        model, prompt = parse_probe(body, MAX_TOKENS)
        message = {"role": "assistant", "content": self._replies[prompt]}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        return web.json_response({"id": "cmpl", "object": "chat.completion", "model": model, "choices": [choice]})

    async def _sign(self, prompt_hashes: list[str]) -> str:
        asked = [Hash32(bytes.fromhex(digest.removeprefix("0x"))) for digest in prompt_hashes]
        replies_hash = hash_replies([(digest, self._reply_hashes[digest]) for digest in asked])
        struct = typed_data.transcript(f.TASK_ID, f.MODEL_HASH, MARKS_HASH, replies_hash)
        return "0x" + (await EVIDENCE_SIGNER.sign_typed_data(DOMAIN, struct)).hex()


async def main() -> None:
    key = new_key()
    with tempfile.TemporaryDirectory() as scratch:
        async with serving(StubMiner().handle, make_context(Path(scratch), key)) as url:
            where: dict[str, Any] = {"url": url, "tls_key_hash": hash_of(key).hex()}
            print(json.dumps(where), flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
