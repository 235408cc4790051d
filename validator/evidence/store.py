"""Evidence bundles on disk: sealed until their settlement is final, then one public file each, named by its hash.

Rules kept: a bundle of a task that is not settled shows its marks (protocol, invariant 6), so it is in clear nowhere;
each step may be made again, after a crash or on a disk that was full.
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from validator.errors import BadInput, Fatal, Transient
from validator.evidence.fields import to_hex
from validator.files import file_error, write_whole
from validator.protocol.commitment import keccak
from validator.sealed_files import SealedFiles
from validator.types import Hash32

PUBLIC, SEALED = ".json", ".sealed"
_NAME = re.compile(r"0x([0-9a-f]{64})\.json")


class BundleLost(Fatal):
    """Evidence that must be there is not, or is damaged: nobody can audit its settlement, which others will notice."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What of the evidence that should be there is not, and what is there but does not have its hash."""

    missing: tuple[Hash32, ...]
    corrupt: tuple[Hash32, ...]


class BundleStore:
    """The bundles of one validator in `directory`; `key` (32 bytes) seals those in `pending/`.

    Writing may raise DiskFull, and BadInput where the place cannot be written at all.
    """

    def __init__(self, directory: Path, key: bytes) -> None:
        self._public, self._pending = directory, directory / "pending"
        self._sealed = SealedFiles(key)
        try:
            self._pending.mkdir(mode=0o700, parents=True, exist_ok=True)
            for unfinished in (*directory.glob(".*.unfinished"), *self._pending.glob(".*.unfinished")):
                unfinished.unlink()
        except OSError as error:
            raise BadInput(f"cannot use the directory of evidence bundles {directory}: {error.strerror}") from error

    def write_pending(self, data: bytes) -> Hash32:
        """Seal a bundle and wait for the disk; its hash, which `settle` may name from now on."""
        bundle_hash = keccak(data)
        if self._read_pending(bundle_hash) != data and self.read(bundle_hash) != data:
            self._sealed.write(self._pending_path(bundle_hash), data)
        return bundle_hash

    def publish(self, bundle_hash: Hash32) -> None:
        """Open a bundle to everybody, once its settlement is final; BundleLost if there is none."""
        if self.read(bundle_hash) is None:
            data = self._read_pending(bundle_hash)
            if data is None:
                raise BundleLost(f"the evidence bundle {to_hex(bundle_hash)} is neither pending nor public: restore it")
            write_whole(self.path(bundle_hash), data)
        self.discard_pending(bundle_hash)

    def discard_pending(self, bundle_hash: Hash32) -> None:
        """Forget a bundle that no settlement will name."""
        self._pending_path(bundle_hash).unlink(missing_ok=True)

    def sweep_pending(self, expected: Container[Hash32], older_than_s: float) -> None:
        """Forget what was written before `older_than_s` (Unix seconds) and is in no task's settlement."""
        for path in self._pending.glob("0x*" + SEALED):
            if Hash32(bytes.fromhex(path.stem[2:])) not in expected and path.stat().st_mtime < older_than_s:
                path.unlink()

    def path(self, bundle_hash: Hash32) -> Path:
        """Where a public bundle is, if it is one."""
        return self._public / (to_hex(bundle_hash) + PUBLIC)

    def read(self, bundle_hash: Hash32) -> bytes | None:
        """A public bundle whose bytes have this hash, or None."""
        return _with_hash(self.path(bundle_hash), bundle_hash)

    def hashes(self) -> list[Hash32]:
        """Of all public bundles, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self._public.iterdir())
        return sorted(Hash32(bytes.fromhex(name[1])) for name in names if name)

    def check(self, expected: Iterable[Hash32]) -> Damage:
        """Read everything that should be there, public or still pending (O8); seconds of work, for a thread."""
        lost = [each for each in expected if self.read(each) is None and self._read_pending(each) is None]
        corrupt = {each for each in lost if self.path(each).exists() or self._pending_path(each).exists()}
        return Damage(tuple(each for each in lost if each not in corrupt), tuple(sorted(corrupt)))

    def _read_pending(self, bundle_hash: Hash32) -> bytes | None:
        path = self._pending_path(bundle_hash)
        try:
            return self._sealed.read(path) if path.exists() else None
        except BadInput:
            return None  # As good as none: whoever needs it says so.

    def _pending_path(self, bundle_hash: Hash32) -> Path:
        return self._pending / (to_hex(bundle_hash) + SEALED)


def _with_hash(path: Path, expected: Hash32) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        found = file_error("read", path, error)
        if isinstance(found, Transient):
            raise found from error
        return None
    return data if keccak(data) == expected else None
