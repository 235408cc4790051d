"""What time a node says it is: the Date header of its HTTP answers (RFC 9110, 6.6.1), to the second.

Not the time of its newest block, which on an idle development chain may be days old and is the sender's say on others.
"""

import asyncio
import time
from email.utils import parsedate_to_datetime

import aiohttp

from validator.errors import ChainUnreachable

TIMEOUT_S = 10.0


async def clock_offset_s(url: str) -> float | None:
    """How far the node's clock is ahead of ours; None if it does not say. ChainUnreachable if it does not answer."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
        ):
            asked_s = time.time()
            async with session.post(url, json=call, allow_redirects=False) as response:
                date, answered_s = response.headers.get("Date"), time.time()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ChainUnreachable(f"the node does not answer: {type(error).__name__}") from None
    try:
        said_s = parsedate_to_datetime(date or "").timestamp() + 0.5
    except ValueError:
        return None
    return said_s - (asked_s + answered_s) / 2
