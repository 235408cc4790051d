"""Uploaded training files: streamed to the miner's home under a size cap, seen only by the validator that sent them.

Rule kept: the same bytes from the same validator are the same file, so a validator that lost our answer and uploads
again still means the same job.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import BodyPartReader, web

from validator.json_lines import JsonLines
from validator.miner.objects import JSON, Refusal, bad_request, new_id, not_found, now_s
from validator.types import Address

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FIELD_BYTES = 256
PURPOSE = "fine-tune"


@dataclass(frozen=True, slots=True)
class StoredFile:
    file_id: str
    owner: Address
    filename: str
    size_bytes: int
    created_at: int
    path: Path

    def as_json(self) -> JSON:
        return {
            "id": self.file_id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": PURPOSE,
            "status": "processed",
            "expires_at": None,
            "status_details": None,
        }


class FileStore:
    """The files of one miner. Names on disk are ours; what the sender called a file is only repeated back."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._lines = JsonLines(directory / "files.jsonl")
        stored = [StoredFile(**line, path=directory / line["file_id"]) for line in self._lines.load()]
        self._files = {file.file_id: file for file in stored if file.path.exists()}

    async def receive(self, request: web.Request, owner: Address) -> StoredFile:
        """Read a multipart upload whose parts come in any order; Refusal on anything but `purpose` and `file`."""
        if request.content_type != "multipart/form-data":
            raise bad_request("a file is uploaded as multipart/form-data")
        partial = self._directory / f"{new_id('upload')}.part"
        digest = hashlib.sha256(bytes.fromhex(owner[2:]))
        filename: str | None = None
        purpose: str | None = None
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    raise bad_request("nested multipart is not accepted")
                if part.name == "purpose" and purpose is None:
                    purpose = await _read_field(part)
                elif part.name == "file" and filename is None:
                    filename = part.filename or "upload.jsonl"
                    await _save(part, partial, digest)
                else:
                    raise bad_request(f"the part {part.name!r} is not accepted here", part.name)
            if filename is None or purpose != PURPOSE:
                raise bad_request(f"the parts file and purpose={PURPOSE} are needed", "purpose")
            file_id = f"file-{digest.hexdigest()[:24]}"
            path = self._directory / file_id
            stored = self._files.get(file_id) or self._note(
                StoredFile(file_id, owner, filename, partial.stat().st_size, now_s(), path)
            )
            partial.replace(path)
        except ValueError as error:  # aiohttp's word for a malformed multipart body
            raise bad_request(f"malformed multipart body: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        self._files[file_id] = stored
        return stored

    def _note(self, file: StoredFile) -> StoredFile:
        line = asdict(file)
        del line["path"]
        self._lines.append(line)
        return file

    def get(self, file_id: str, owner: Address) -> StoredFile:
        stored = self._files.get(file_id)
        if stored is None or stored.owner != owner:
            raise not_found("file", file_id)
        return stored

    def of(self, owner: Address) -> list[StoredFile]:
        """This owner's files, newest first."""
        return [stored for stored in reversed(self._files.values()) if stored.owner == owner]

    def delete(self, file_id: str, owner: Address) -> None:
        self.get(file_id, owner).path.unlink(missing_ok=True)
        del self._files[file_id]


async def _save(part: BodyPartReader, path: Path, digest: "hashlib._Hash") -> None:
    size_bytes = 0
    with path.open("wb") as file:
        while chunk := await part.read_chunk(1 << 16):
            size_bytes += len(chunk)
            if size_bytes > MAX_FILE_BYTES:
                raise Refusal(413, f"a file may have {MAX_FILE_BYTES} bytes", "file_too_large", "file")
            digest.update(chunk)
            file.write(chunk)


async def _read_field(part: BodyPartReader) -> str:
    data = b""
    while chunk := await part.read_chunk(MAX_FIELD_BYTES):
        data += chunk
        if len(data) > MAX_FIELD_BYTES:
            raise bad_request(f"the part {part.name!r} is too long", part.name)
    return data.decode()
