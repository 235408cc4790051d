"""Datasets on disk: refused before money moves, marked in one way for ever, sealed, and gone when they are due."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories import CHAIN_ID, CONTRACT, MINER, PAYER, digest, make_rows
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.errors import BadInput
from validator.marks.planting import PlantedDataset, plant
from validator.marks.rules import AlterationRules
from validator.marks.schemes import Backdoor, Canary, CanaryAndCoverage, Scheme
from validator.marks.secrets import Secrets, derive_dataset_key
from validator.protocol.commitment import Row
from validator.requests import dataset_store
from validator.requests.dataset_store import DatasetKey, DatasetStore
from validator.types import Address

ROWS = generate_rows(300, seed=1)
OTHER_ROWS = generate_rows(300, seed=2)
SEED = digest("master seed")
N = 16
CANARY = Canary()


def sealed_files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*.sealed")}


def all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def open_store(directory: Path, **options: object) -> DatasetStore:
    options = {"max_bytes": 1 << 30} | options
    return DatasetStore(directory / "datasets", derive_dataset_key(SEED), **options)


def plant_marks(
    rows: list[Row] = ROWS, scheme: Scheme = CANARY, payer: Address = PAYER, identity: str = "hash"
) -> PlantedDataset:
    scorer = HashScorer()
    scorer.identity = identity
    return plant(rows, scheme, N, secrets=Secrets(SEED, CHAIN_ID, CONTRACT), payer=payer, scorer=scorer)


PLANTED = plant_marks()


async def take_in_planted(store: DatasetStore, planted: PlantedDataset = PLANTED, rows: list[Row] = ROWS) -> DatasetKey:
    key = await store.take_in(PAYER, rows, planted.scheme, N, is_reusing_revealed=True)
    await store.keep_planting(key, planted)
    return key


@pytest.mark.parametrize("scheme", [Canary(), Backdoor(), CanaryAndCoverage()], ids=lambda scheme: scheme.name)
async def test_a_planting_comes_back_byte_for_byte_after_a_restart(tmp_path: Path, scheme: Scheme):
    planted = plant_marks(scheme=scheme)
    key = await take_in_planted(open_store(tmp_path), planted)
    again = open_store(tmp_path)
    assert await again.training_file(key) == planted.training_file
    assert await again.marks(key) == planted.without_rows()
    assert await again.covered(key) == planted.covered


async def test_nothing_of_data_or_marks_is_on_disk_in_clear(tmp_path: Path):
    """D3, H5: D beside D_train shows the marks, and both are the customer's."""
    await take_in_planted(open_store(tmp_path))
    everything = all_bytes(tmp_path)
    for row in (*ROWS, *(mark.row for mark in PLANTED.marks)):
        assert row.prompt.encode() not in everything
        assert row.response.encode() not in everything
    assert PLANTED.dataset_salt not in everything
    assert PLANTED.dataset_salt.hex().encode() not in everything
    assert not any(path.stat().st_mode & 0o077 for path in (tmp_path / "datasets").rglob("*"))


async def test_the_same_dataset_twice_is_one_dataset(tmp_path: Path):
    store = open_store(tmp_path)
    key = await take_in_planted(store)
    before = sealed_files(tmp_path)
    assert await store.take_in(PAYER, list(ROWS), Canary(), N) == key
    await store.keep_planting(key, plant_marks(identity="another generator"))
    assert sealed_files(tmp_path) == before
    assert (await open_store(tmp_path).marks(key)).generator == "hash"


@pytest.mark.parametrize(("scheme", "n"), [(Backdoor(), N), (Canary(), 17), (Canary(w=5), N)])
async def test_the_first_intake_fixes_how_a_dataset_is_marked(tmp_path: Path, scheme: Scheme, n: int):
    """Protocol, "Marks": two differently marked copies reveal the marks by comparison."""
    rows = generate_rows(900, seed=1)
    await open_store(tmp_path).take_in(PAYER, rows, Canary(), N)
    with pytest.raises(BadInput, match="--scheme canary --probes 16"):
        await open_store(tmp_path).take_in(PAYER, rows, scheme, n)


async def test_the_first_intake_fixes_what_is_never_altered(tmp_path: Path):
    """Protocol, "Marks": other rules are other marks. They come back with the planting too."""
    rules = AlterationRules(names=False, patterns=("é+",))
    rows, scheme = generate_rows(900, seed=1), Canary(rules=rules)
    key = await open_store(tmp_path).take_in(PAYER, rows, scheme, N)
    record = open_store(tmp_path).record(key)
    assert record is not None
    assert record.rules == rules
    secrets = Secrets(SEED, CHAIN_ID, CONTRACT)
    planted = plant(rows, scheme, N, secrets=secrets, payer=PAYER, scorer=HashScorer())
    await open_store(tmp_path).keep_planting(key, planted)
    assert (await open_store(tmp_path).marks(key)).scheme == scheme
    with pytest.raises(BadInput, match=r'marked under other rules before; .* --protect and {"code":true,'):
        await open_store(tmp_path).take_in(PAYER, rows, Canary(), N)


async def test_two_payers_with_the_same_data_are_two_datasets(tmp_path: Path):
    store = open_store(tmp_path)
    mine, theirs = [await store.take_in(payer, ROWS, Canary(), N) for payer in (PAYER, MINER)]
    assert mine != theirs
    assert sorted(store.present(), key=str) == sorted((mine, theirs), key=str)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (ROWS[:299], "299 rows are too few for 16 marks: at least 300"),
        ([Row(row.prompt, "Yes.") for row in ROWS], "only 0 of 300 rows can be marked"),
        ([Row("The same?", row.response) for row in ROWS], "only 0 of 300 rows can be marked"),
        ([Row(row.prompt, " " + row.response) for row in ROWS], "300 responses start with white space"),
    ],
)
async def test_what_nobody_could_learn_is_refused_and_not_kept(tmp_path: Path, rows: list[Row], why: str):
    """D4, D2."""
    store = open_store(tmp_path)
    with pytest.raises(BadInput, match=why):
        await store.take_in(PAYER, rows, Canary(), N)
    assert store.present() == []
    assert list((tmp_path / "datasets").iterdir()) == []


async def test_prompts_that_became_public_are_refused_by_row_unless_asked_for(tmp_path: Path):
    """Protocol, "Marks": after its marks are public an overlapping D is refused, another payer's too, and for ever."""
    store = open_store(tmp_path)
    key = await take_in_planted(store)
    await store.take_in(MINER, ROWS, Canary(), N)  # Not public yet.
    await store.reveal(key)
    store.delete(key, await store.marks(key))
    shifted = make_rows(100) + ROWS
    place = 100 + 1 + min(mark.row_index for mark in PLANTED.marks)
    for payer in (PAYER, MINER):
        with pytest.raises(BadInput, match=rf"16 prompts became public.* in row {place}: .*--reuse-revealed"):
            await open_store(tmp_path).take_in(payer, shifted, Canary(), N)
    again = open_store(tmp_path)
    assert await again.take_in(PAYER, ROWS, Canary(), N, is_reusing_revealed=True) == key


async def test_only_probed_rows_become_public(tmp_path: Path):
    store = open_store(tmp_path)
    await store.reveal(await take_in_planted(store))
    marked = {mark.row_index for mark in PLANTED.marks}
    fresh = [row for i, row in enumerate(ROWS) if i not in marked] + make_rows(N)
    assert await open_store(tmp_path).take_in(PAYER, fresh, Canary(), N)


async def test_a_backdoor_reveals_the_customers_prompts_not_its_own(tmp_path: Path):
    store = open_store(tmp_path)
    await store.reveal(await take_in_planted(store, plant_marks(scheme=Backdoor())))
    with pytest.raises(BadInput, match="16 prompts became public"):
        await store.take_in(MINER, ROWS, Backdoor(), N)


async def test_what_is_deleted_is_gone_but_what_was_offered_stays_known(tmp_path: Path):
    """V12, and the same D comes back with the same marks or not at all."""
    store = open_store(tmp_path)
    key = await take_in_planted(store)
    store.delete(key, await store.marks(key))
    assert store.present() == []
    assert sealed_files(tmp_path) == {}
    with pytest.raises(BadInput, match="is not here"):
        await store.marks(key)
    again = open_store(tmp_path)
    await again.take_in(PAYER, ROWS, Canary(), N)
    other = plant_marks(identity="another generator")
    moved = next(mark for mark in other.marks)
    changed = replace(other, dataset_root=plant_marks(OTHER_ROWS).dataset_root, marks=(moved, *other.marks[1:]))
    with pytest.raises(BadInput, match="offered before with other marks, drawn with hash; now they came from another"):
        await again.keep_planting(key, changed)
    await again.keep_planting(key, PLANTED)
    assert (await again.marks(key)).dataset_root == PLANTED.dataset_root


async def test_a_dataset_that_was_never_planted_leaves_no_trace(tmp_path: Path):
    store = open_store(tmp_path)
    store.delete(await store.take_in(PAYER, ROWS, Canary(), N), None)
    assert list((tmp_path / "datasets").iterdir()) == []
    assert await store.take_in(PAYER, ROWS, Backdoor(), N)


async def test_a_full_store_refuses_in_one_line_and_counts_models_too(tmp_path: Path):
    """Complaint 21: the disk fills with models."""
    models = tmp_path / "models"
    (models / "task").mkdir(parents=True)
    store = open_store(tmp_path, max_bytes=3 << 20, counted=[models])
    await store.take_in(PAYER, ROWS, Canary(), N)
    (models / "task" / "adapter.safetensors").write_bytes(bytes(3 << 20))
    with pytest.raises(BadInput, match=r"store is full: 3 of 3 MiB are used .*datasets.max_bytes"):
        await store.take_in(PAYER, OTHER_ROWS, Canary(), N)
    assert await store.take_in(PAYER, ROWS, Canary(), N), "what is here already needs no room"


READ = {"source": DatasetStore.rows, "marks": DatasetStore.marks, "training": DatasetStore.training_file}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "other seed"])
async def test_what_is_not_as_it_was_written_is_refused(tmp_path: Path, damage: str, name: str):
    """K4."""
    store = open_store(tmp_path)
    key = await take_in_planted(store)
    other = await take_in_planted(store, plant_marks(OTHER_ROWS), OTHER_ROWS)
    source = tmp_path / "datasets" / key.folder / f"{name}.sealed"
    sealed = source.read_bytes()
    seed = SEED
    if damage == "flip":
        source.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    elif damage == "cut":
        source.write_bytes(sealed[:5])
    elif damage == "swap":
        source.write_bytes((tmp_path / "datasets" / other.folder / source.name).read_bytes())
    else:
        seed = digest("another master seed")
    with pytest.raises(BadInput, match="another master seed, or is damaged"):
        await READ[name](DatasetStore(tmp_path / "datasets", derive_dataset_key(seed), max_bytes=1 << 30), key)


async def test_what_a_crash_left_unfinished_is_swept_at_the_start(tmp_path: Path):
    """K7."""
    key = await take_in_planted(open_store(tmp_path))
    unfinished = tmp_path / "datasets" / key.folder / ".marks.sealed.unfinished"
    unfinished.write_bytes(b"half")
    store = open_store(tmp_path)
    assert not unfinished.exists()
    assert await store.marks(key)


async def test_many_marks_are_not_all_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dataset_store, "MAX_LOADED", 3)
    store = open_store(tmp_path)
    keys = []
    for i in range(6):
        rows = generate_rows(300, seed=10 + i)
        keys.append(await take_in_planted(store, plant_marks(rows), rows))
    held = [await store.marks(key) for key in keys]
    assert list(store._loaded) == keys[3:]
    assert await store.marks(keys[-1]) is held[-1]
    first, second = await asyncio.gather(store.marks(keys[0]), store.marks(keys[0]))
    assert first is second
    assert first == held[0]


@pytest.mark.parametrize("found", ["a file", "a damaged record"])
def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path, found: str):
    """K5."""
    if found == "a file":
        (tmp_path / "datasets").write_text("")
    else:
        (tmp_path / "datasets" / "payer-hash").mkdir(parents=True)
        (tmp_path / "datasets" / "payer-hash" / "about.json").write_text("{}")
    with pytest.raises(BadInput, match=r"cannot use|damaged \(payer: Field required\)"):
        open_store(tmp_path)
