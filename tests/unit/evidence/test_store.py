"""Bundles on disk: sealed before the settlement, public after it, and mended after a crash or a full disk."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.factories import digest
from tests.support import require_or_skip
from tests.unit.evidence.settled import SEED, bundle_of, settled_task
from validator.errors import BadInput
from validator.evidence.store import BundleLost, BundleStore, Damage
from validator.marks.secrets import derive_bundle_key

KEY = derive_bundle_key(SEED)
BUNDLE = bundle_of(settled_task())
DATA, HASH = BUNDLE.encode(), BUNDLE.bundle_hash
NAME = f"0x{HASH.hex()}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


@pytest.fixture
def store(directory: Path) -> BundleStore:
    return BundleStore(directory, KEY)


def in_clear(directory: Path) -> list[str]:
    """Files in which a prompt or a salt of the bundle can be read."""
    needles = (BUNDLE.rows[0].prompt.encode(), BUNDLE.commitment_salt.hex().encode(), BUNDLE.commitment_salt)
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]


def test_before_the_settlement_nothing_is_public_or_in_clear(directory: Path, store: BundleStore):
    """K8, I5; protocol, invariant 6."""
    assert store.write_pending(DATA) == HASH
    assert store.hashes() == []
    assert store.read(HASH) is None
    assert in_clear(directory) == []
    assert (directory / "pending").stat().st_mode & 0o077 == 0


def test_after_it_the_bundle_is_a_file_named_by_its_hash(directory: Path, store: BundleStore):
    store.write_pending(DATA)
    store.publish(HASH)
    assert (directory / f"{NAME}.json").read_bytes() == DATA == store.read(HASH)
    for other in ("0xnote.json", "README", "0x" + "A" * 64 + ".json"):
        (directory / other).write_text("an operator's own")
    assert store.hashes() == [HASH]
    assert list((directory / "pending").iterdir()) == []


def test_each_step_may_be_made_again(directory: Path, store: BundleStore):
    for _ in range(2):
        assert store.write_pending(DATA) == HASH
    sealed = (directory / "pending" / f"{NAME}.sealed").read_bytes()
    BundleStore(directory, KEY).write_pending(DATA)
    assert (directory / "pending" / f"{NAME}.sealed").read_bytes() == sealed
    for _ in range(2):
        store.publish(HASH)
    store.write_pending(DATA)
    assert list((directory / "pending").iterdir()) == [], "what is public is not sealed again"


@pytest.mark.parametrize("crash", ["while sealing", "while publishing", "between publishing and forgetting"])
def test_what_a_crash_leaves_is_mended_by_the_next_call(directory: Path, store: BundleStore, crash: str):
    """K7, P1."""
    if crash != "while sealing":
        store.write_pending(DATA)
    half = {"while sealing": directory / "pending" / f".{NAME}.sealed.unfinished"}
    half.setdefault(crash, directory / f".{NAME}.json.unfinished").write_bytes(DATA[:100])
    if crash == "between publishing and forgetting":
        (directory / f"{NAME}.json").write_bytes(DATA)
    again = BundleStore(directory, KEY)
    assert list(directory.rglob("*.unfinished")) == []
    again.write_pending(DATA)
    again.publish(HASH)
    assert again.read(HASH) == DATA
    assert list((directory / "pending").iterdir()) == []


@pytest.mark.parametrize("damage", ["deleted", "changed", "cut", "emptied"])
def test_evidence_that_is_gone_or_changed_is_found(directory: Path, store: BundleStore, damage: str):
    """O8: rotation, or a hand, in the evidence."""
    store.write_pending(DATA)
    store.publish(HASH)
    pending = store.write_pending(bundle_of(settled_task(3)).encode())
    assert store.check([HASH, pending]) == Damage((), ())
    path = directory / f"{NAME}.json"
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes({"changed": DATA.replace(b"paid", b"PAID"), "cut": DATA[:-1], "emptied": b""}[damage])
    expected = Damage((HASH,), ()) if damage == "deleted" else Damage((), (HASH,))
    assert store.check([HASH, pending]) == expected
    assert store.read(HASH) is None
    with pytest.raises(BundleLost, match=NAME):
        store.publish(HASH)
    store.write_pending(DATA)  # made again from the journal, whose evidence has the same bytes
    store.publish(HASH)
    assert store.check([HASH, pending]) == Damage((), ())


def test_a_sealed_bundle_of_another_seed_or_a_damaged_one_is_corrupt(directory: Path, store: BundleStore):
    store.write_pending(DATA)
    other = BundleStore(directory, derive_bundle_key(digest("another seed")))
    assert other.check([HASH]) == Damage((), (HASH,))
    with pytest.raises(BundleLost):
        other.publish(HASH)
    assert store.check([HASH]) == Damage((), ())


def test_what_no_settlement_will_name_is_forgotten(directory: Path, store: BundleStore):
    store.write_pending(DATA)
    for _ in range(2):
        store.discard_pending(HASH)
    assert list((directory / "pending").iterdir()) == []
    assert store.check([HASH]) == Damage((HASH,), ())


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot use the directory of evidence bundles"):
        BundleStore(tmp_path / "file", KEY)


LIFE_ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from tests.unit.evidence.test_store import DATA, HASH, KEY
from validator.errors import DiskFull
from validator.evidence.store import BundleStore, Damage

directory, pages = Path(sys.argv[1]), int(sys.argv[2])

def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(directory)], check=True)

mount(f"size={pages * 4096}")
store = BundleStore(directory, KEY)
for call in (lambda: store.write_pending(DATA), lambda: store.publish(HASH)):
    try:
        call()
    except DiskFull as error:
        print(error)
        assert not store.path(HASH).exists()
        mount("remount", "size=16m")
        call()
assert store.check([HASH]) == Damage((), ()), store.check([HASH])
assert [path.name for path in directory.rglob("*") if path.is_file()] == [store.path(HASH).name]
"""


def test_a_full_disk_at_any_page_is_waited_out(directory: Path):
    """K1: while sealing or while publishing; nothing is lost, nothing half done is public."""
    directory.mkdir()
    needed = -(-len(DATA) // 4096)
    seen = []
    for pages in (1, needed - 1, needed, 2 * needed - 1, 2 * needed):
        command = ["unshare", "--mount", sys.executable, "-c", LIFE_ON_A_SMALL_DISK, str(directory), str(pages)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if "unshare" in child.stderr:
            require_or_skip(f"a file system of its own for a process: {child.stderr.strip()}")
        assert child.returncode == 0, child.stderr
        seen.append(child.stdout.count("No space left"))
    assert seen == [1, 1, 1, 1, 0]


def test_what_a_challenge_has_overtaken_is_forgotten_once_it_is_old(tmp_path: Path):
    store = BundleStore(tmp_path, KEY)
    settled, overtaken = store.write_pending(b"settled"), store.write_pending(b"overtaken")
    store.sweep_pending({settled}, older_than_s=0.0)
    assert store.check([settled, overtaken]).missing == ()
    store.sweep_pending({settled}, older_than_s=time.time() + 1)
    assert store.check([settled, overtaken]).missing == (overtaken,)
