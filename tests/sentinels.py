"""Sentinel secrets: what a run must leave nowhere, in any spelling (H5, K8, I5, D3).

A test that starts something with a secret registers it; at the end of the session everything that the tests left on
disk is searched (tests/conftest.py), whatever it is: logs, metrics, databases, WALs, traces, core dumps, bundles.
"""

import json
import mmap
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from validator.edges.keys import derive_secret
from validator.marks.planting import PlantedDataset
from validator.marks.secrets import Secrets, derive_bundle_key, derive_dataset_key, derive_journal_key
from validator.protocol.commitment import SEPARATOR
from validator.types import Address

MIN_DISTINCT_BYTES = 8
"""Fewer are no secret but a pattern, which other files may hold too: bytes(32), b"\\5" * 32."""

registered: dict[str, bytes] = {}


def register(name: str, secret: bytes | str) -> None:
    """From now on this must be in no file of the session; ValueError if it cannot be told from other bytes."""
    spellings(_bytes(secret))
    registered[name] = _bytes(secret)


def spellings(secret: bytes) -> frozenset[bytes]:
    """Every way in which programs write bytes: as they are, in hex, base64, decimal, and with escapes.

    Base64 at each of the three alignments, less the characters that depend on the neighbours.
    """
    if len(set(secret)) < MIN_DISTINCT_BYTES:
        raise ValueError("no sentinel: too few different bytes to be told from others")
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()}
    found.add(str(int.from_bytes(secret)).encode())
    for shift in range(3):
        whole = slice(-(-8 * shift // 6), 8 * (shift + len(secret)) // 6)
        found |= {encode(bytes(shift) + secret)[whole] for encode in (b64encode, urlsafe_b64encode)}
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return frozenset(found)
    return frozenset(found | {json.dumps(text, ensure_ascii=escaped)[1:-1].encode() for escaped in (True, False)})


def find_in_bytes(content: bytes | mmap.mmap, secrets: Mapping[str, bytes]) -> list[str]:
    """The names of the secrets that are in it."""
    return [name for name, secret in secrets.items() if any(content.find(each) >= 0 for each in spellings(secret))]


def find_in_files(directory: Path, secrets: Mapping[str, bytes], *, ignored: Iterable[Path] = ()) -> list[str]:
    """`secret: file` of all secrets in all files under a directory, but for what is in the `ignored` ones."""
    ignored = set(ignored)
    return [
        f"{name}: {path}"
        for path in _files(directory)
        if not ignored.intersection((path, *path.parents))
        for name in _find_in_file(path, secrets)
    ]


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def _find_in_file(path: Path, secrets: Mapping[str, bytes]) -> list[str]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return find_in_bytes(content, secrets)
    except (FileNotFoundError, ValueError):  # Gone meanwhile, or empty.
        return []


def secrets_of_validator(
    master_seed: bytes,
    chain_id: int,
    contract: Address,
    *,
    validator: Address,
    tasks: int,
    roles: Sequence[str] = ("validator",),
) -> dict[str, bytes]:
    """What a validator derives from its seed and never writes down: keys of roles, salts of its tasks, sealing keys."""
    secrets = Secrets(master_seed, chain_id, contract)
    return {
        **{f"key of {role}": derive_secret(master_seed, role).reveal() for role in roles},
        **{f"salt of task {nonce}": secrets.commitment_salt(validator, nonce) for nonce in range(tasks)},
        "journal key": derive_journal_key(master_seed),
        "bundle key": derive_bundle_key(master_seed),
        "dataset key": derive_dataset_key(master_seed),
    }


def secrets_of_dataset(planted: PlantedDataset) -> dict[str, bytes]:
    """The salt, the draws and every text of a planted dataset (D3)."""
    draws = {f"draw of row {mark.row_index}": mark.draw.text.encode() for mark in planted.marks}
    return {"dataset salt": planted.dataset_salt, **draws, **secrets_of_texts(row.prompt for row in planted.rows)}


def secrets_of_texts(texts: Iterable[str]) -> dict[str, bytes]:
    """Those texts of a dataset that nobody writes by chance: of at least four words."""
    return {f"text {text[:20]!r}": text.encode() for text in texts if text.count(SEPARATOR) >= 3}


def session_token_prefix(validator: Address, miner: Address) -> bytes:
    """How all session tokens of these two begin (protocol, "Transport")."""
    return bytes.fromhex(validator[2:] + miner[2:])


def _bytes(secret: bytes | str) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret
