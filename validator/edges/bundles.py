"""Evidence bundles by their hash, from directories and from validators' web listeners (protocol, "Evidence bundle").

Rules kept: what is found is what has the hash, wherever it came from; a stranger's server decides neither how long we
wait nor how much we read, and none of our names, cookies or proxies reach it.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar

from validator.errors import BadInput, Transient
from validator.protocol.commitment import keccak
from validator.types import Hash32

TIMEOUT = ClientTimeout(total=300, sock_connect=10, sock_read=30)
"""Time for 80 MiB at a quarter of a megabyte a second."""
ATTEMPTS, PAUSE_S = 3, 1.0
ABSENT = frozenset({404, 410})


class BundleSources:
    """An async context manager around the connections to all sources: directories, and URLs up to `/bundles`."""

    def __init__(self, places: Sequence[str], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._directories: list[Path] = []
        self._urls: list[str] = []
        for place in places:
            if "://" in place:
                parts = urlsplit(place)
                if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
                    raise BadInput(f"{place!r} is no place of bundles: a directory, or https://host/bundles")
                self._urls.append(place.rstrip("/"))
            elif Path(place).is_dir():
                self._directories.append(Path(place))
            else:
                raise BadInput(f"there is no directory {place}")

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            timeout=TIMEOUT,
            cookie_jar=DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def find(self, bundle_hash: Hash32) -> bytes | None:
        """The bytes with this hash; what is there under the name but has another hash if there is no better.

        None where every source says that it has none. Transient where one could not be asked, and none had it.
        """
        wrong: bytes | None = None
        failure: Transient | None = None
        for directory in self._directories:
            found = await asyncio.to_thread(self._read, directory / f"0x{bundle_hash.hex()}.json")
            if found is not None and keccak(found) == bundle_hash:
                return found
            wrong = found if wrong is None else wrong
        for url in self._urls:
            try:
                found = await self._fetch(f"{url}/0x{bundle_hash.hex()}")
            except Transient as error:
                failure = error
                continue
            if found is not None and keccak(found) == bundle_hash:
                return found
            wrong = found if wrong is None else wrong
        if wrong is None and failure is not None:
            raise failure
        return wrong

    def _read(self, path: Path) -> bytes | None:
        try:
            with path.open("rb") as file:
                return file.read(self._max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Transient(f"cannot read {path}: {error.strerror}") from error

    async def _fetch(self, url: str) -> bytes | None:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_S * attempt)
            try:
                async with self._session.get(url, allow_redirects=False) as response:
                    if response.status in ABSENT:
                        return None
                    if response.status == 200:
                        return await self._read_bounded(response)
                    problem = f"HTTP status {response.status}"
            except (ClientError, TimeoutError, OSError) as error:
                problem = type(error).__name__
        raise Transient(f"{urlsplit(url).hostname} gives no bundle: {problem}")

    async def _read_bounded(self, response: ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > self._max_bytes:
                break  # Whatever it is, it has no hash that anybody names.
        return bytes(body)
