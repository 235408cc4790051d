"""The customers' datasets and their plantings on disk: one folder for every (payer, D), sealed.

Rules kept: the first intake of a D fixes how it is marked, and its planting is reused byte for byte, since two
differently marked copies of one dataset reveal the marks by comparison (protocol, "Marks"); what that fixed, and which
rows have become public, outlives the data. Reading, hashing and Merkle trees are the work of threads, and what is
loaded is kept in memory up to a bound.
"""

import asyncio
import json
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from validator.errors import BadInput, first_problem
from validator.files import write_whole
from validator.marks.planting import PlantedDataset, check_learnable, hash_source_data
from validator.marks.sampler import Draw
from validator.marks.schemes import SCHEMES, Mark, Scheme
from validator.protocol.commitment import MerkleTree, Row, hash_row, keccak
from validator.protocol.wire import encode_training_file, parse_training_file
from validator.sealed_files import SealedFiles
from validator.types import Address, Hash32

MAX_DATASET_BYTES = 64 << 20
"""Of one D: what a daemon of 512 MiB can read, hash and hand to a child without running out."""
MAX_LOADED_BYTES = 96 << 20
"""About what all loaded plantings together may take; the newest stays, however large."""

ABOUT, SOURCE, PLANTED = "about.json", "source.sealed", "planted.sealed"


@dataclass(frozen=True, slots=True)
class DatasetKey:
    """Which dataset: whose, and `sha256(D)` over its canonical training lines."""

    payer: Address
    source_data_hash: Hash32

    @property
    def folder(self) -> str:
        return f"{self.payer.lower()}-{self.source_data_hash.hex()}"

    def __str__(self) -> str:
        return f"the dataset 0x{self.source_data_hash.hex()} of {self.payer}"


class DatasetRecord(BaseModel):
    """What stays known of a dataset, in clear: nothing of it shows a mark before all of them are public.

    `revealed` are keccak-256 hashes of its prompts that are public, by its own settlement (`is_settled`) or by that of
    another dataset which shares them. `generator` and `dataset_root` are written down when the planting is deleted, so
    that a later one can be held to them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    payer: Address
    source_data_hash: str
    rows: int
    scheme: str
    n: int
    w: int
    k: int
    revealed: tuple[str, ...] = ()
    is_settled: bool = False
    generator: str | None = None
    dataset_root: str | None = None

    @property
    def key(self) -> DatasetKey:
        return DatasetKey(self.payer, Hash32(bytes.fromhex(self.source_data_hash)))


class DatasetStore:
    """The folder `directory`, created if need be; BadInput if it cannot be used.

    `key` (32 bytes) seals the data. `max_bytes` bounds what is taken in together with what lies in `counted`, the
    folders that fill the same disk, such as returned models; `max_loaded_bytes` about what plantings take in memory.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        *,
        max_bytes: int,
        counted: Sequence[Path] = (),
        max_loaded_bytes: int = MAX_LOADED_BYTES,
    ) -> None:
        self._directory = directory
        self._files = SealedFiles(key)
        self._max_bytes = max_bytes
        self._counted = (directory, *counted)
        self._max_loaded_bytes = max_loaded_bytes
        self._loaded: OrderedDict[DatasetKey, PlantedDataset] = OrderedDict()
        self._lock = asyncio.Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for unfinished in directory.glob("**/.*.unfinished"):
                unfinished.unlink()
            self._records = {record.key: record for record in map(_read_record, sorted(directory.glob(f"*/{ABOUT}")))}
        except OSError as error:
            raise BadInput(f"cannot use {error.filename or directory}: {error.strerror}") from error

    def record(self, key: DatasetKey) -> DatasetRecord | None:
        """What is known of a dataset, whether it is still here or not."""
        return self._records.get(key)

    def present(self) -> list[DatasetKey]:
        """The datasets whose rows are here."""
        return [key for key in self._records if self._path(key, SOURCE).exists()]

    def is_planted(self, key: DatasetKey) -> bool:
        return self._path(key, PLANTED).exists()

    def taken_in_at_s(self, key: DatasetKey) -> float:
        """When its rows came (Unix seconds)."""
        return self._path(key, SOURCE).stat().st_mtime

    def size_bytes(self, key: DatasetKey) -> int:
        """What one dataset takes on disk."""
        return sum(path.stat().st_size for path in (self._directory / key.folder).iterdir())

    def used_bytes(self) -> int:
        """What the datasets and everything counted with them take on disk."""
        return sum(path.stat().st_size for root in self._counted for path in root.rglob("*") if path.is_file())

    async def check(
        self, payer: Address, rows: Sequence[Row], scheme: Scheme, n: int, *, is_reusing_revealed: bool
    ) -> DatasetKey:
        """Everything that is wrong with a dataset as a BadInput, before any money moves (D1, D2, D4).

        Rows that no honest miner can learn, more than the store can hold, another way of marking than the first one
        asked for, or prompts that the bundle of a settled task has made public.
        """
        return await asyncio.to_thread(self._check, payer, rows, scheme, n, is_reusing_revealed)

    async def take_in(
        self, payer: Address, rows: Sequence[Row], scheme: Scheme, n: int, *, is_reusing_revealed: bool = False
    ) -> DatasetKey:
        """Check a dataset and keep it; the same one once more changes nothing."""
        async with self._lock:
            key = await self.check(payer, rows, scheme, n, is_reusing_revealed=is_reusing_revealed)
            if not self._path(key, SOURCE).exists():
                known = self._records.get(key)
                record = known or DatasetRecord(
                    payer=payer,
                    source_data_hash=key.source_data_hash.hex(),
                    rows=len(rows),
                    scheme=scheme.name,
                    n=n,
                    w=scheme.w,
                    k=scheme.k,
                )
                await asyncio.to_thread(self._write_source, record, rows)
        return key

    async def rows(self, key: DatasetKey) -> list[Row]:
        """The unmarked rows, for planting."""
        return await asyncio.to_thread(self._read_source, key)

    async def keep_planting(self, key: DatasetKey, planted: PlantedDataset) -> None:
        """Keep the planting of a dataset that has none; BadInput if it is not the one that was once offered."""
        async with self._lock:
            if not self.is_planted(key):
                await asyncio.to_thread(self._write_planting, key, planted)
            self._remember(key, planted)

    async def load(self, key: DatasetKey) -> PlantedDataset:
        """The planting of a dataset; BadInput if it is not here."""
        async with self._lock:
            if key not in self._loaded:
                self._remember(key, await asyncio.to_thread(self._read_planting, key))
            self._loaded.move_to_end(key)
            return self._loaded[key]

    async def reveal(self, key: DatasetKey) -> None:
        """Note that the probed rows are public: for ever, and before anything is deleted. Again changes nothing."""
        if self._records[key].is_settled or not self.is_planted(key):
            return
        source, planted = await self.rows(key), await self.load(key)
        public = {_hash_prompt(source[mark.row_index].prompt) for mark in planted.marks}
        for other in self.present():
            prompts = {_hash_prompt(row.prompt) for row in (source if other == key else await self.rows(other))}
            self._add_revealed(other, public & prompts)
        self._write_record(self._records[key].model_copy(update={"is_settled": True}))

    def _add_revealed(self, key: DatasetKey, public: set[str]) -> None:
        record = self._records[key]
        if not public.issubset(record.revealed):
            revealed = tuple(sorted(public.union(record.revealed)))
            self._write_record(record.model_copy(update={"revealed": revealed}))

    async def delete(self, key: DatasetKey) -> None:
        """Forget the rows and their marks. What was offered once is noted first, so that nothing else ever is."""
        if self.is_planted(key):
            planted = await self.load(key)
            update = {"generator": planted.generator, "dataset_root": planted.tree.root.hex()}
            self._write_record(self._records[key].model_copy(update=update))
        elif self._records[key].dataset_root is None:
            shutil.rmtree(self._directory / key.folder)  # Never offered to anybody: nothing is fixed.
            del self._records[key]
            return
        self._loaded.pop(key, None)
        for name in (PLANTED, SOURCE):
            self._path(key, name).unlink(missing_ok=True)

    def _path(self, key: DatasetKey, name: str) -> Path:
        return self._directory / key.folder / name

    def _check(
        self, payer: Address, rows: Sequence[Row], scheme: Scheme, n: int, is_reusing_revealed: bool
    ) -> DatasetKey:
        check_learnable(rows, scheme, n)
        data = encode_training_file(rows)
        if len(data) > MAX_DATASET_BYTES:
            raise BadInput(f"the dataset has {len(data)} bytes, at most {MAX_DATASET_BYTES} are taken: split it")
        key = DatasetKey(payer, Hash32(hash_source_data(rows)))
        known = self._records.get(key)
        if known and (known.scheme, known.n, known.w, known.k) != (scheme.name, n, scheme.w, scheme.k):
            raise BadInput(
                f"this dataset was marked with {known.scheme} and {known.n} probes before; two differently marked "
                f"copies would show the marks: ask for --scheme {known.scheme} --probes {known.n}"
            )
        if not is_reusing_revealed:
            self._check_revealed(rows)
        if not self._path(key, SOURCE).exists():
            self._check_room(2 * len(data))
        return key

    def _check_revealed(self, rows: Sequence[Row]) -> None:
        public = {digest for record in self._records.values() for digest in record.revealed}
        found = [number for number, row in enumerate(rows, 1) if public and _hash_prompt(row.prompt) in public]
        if found:
            raise BadInput(
                f"{len(found)} prompts became public with an earlier task, the first one in row {found[0]}: a miner "
                "can look such rows up. Take them out, or say --reuse-revealed"
            )

    def _check_room(self, wanted_bytes: int) -> None:
        used = self.used_bytes()
        if used + wanted_bytes > self._max_bytes:
            raise BadInput(
                f"the validator's store is full: {used >> 20} of {self._max_bytes >> 20} MiB are used and this dataset "
                f"needs {-(-wanted_bytes >> 20)}; its operator can raise datasets.max_bytes, or wait for deletions"
            )

    def _remember(self, key: DatasetKey, planted: PlantedDataset) -> None:
        self._loaded[key] = planted
        while len(self._loaded) > 1 and sum(map(_estimate_bytes, self._loaded.values())) > self._max_loaded_bytes:
            self._loaded.popitem(last=False)

    def _write_record(self, record: DatasetRecord) -> None:
        write_whole(self._path(record.key, ABOUT), record.model_dump_json(indent=2) + "\n", mode=0o600)
        self._records[record.key] = record

    def _write_source(self, record: DatasetRecord, rows: Sequence[Row]) -> None:
        (self._directory / record.key.folder).mkdir(mode=0o700, exist_ok=True)
        self._write_record(record)
        self._files.write(self._path(record.key, SOURCE), encode_training_file(rows))

    def _read_source(self, key: DatasetKey) -> list[Row]:
        if not self._path(key, SOURCE).exists():
            raise BadInput(f"{key} is not here: it was deleted, or never handed in")
        return parse_training_file(self._files.read(self._path(key, SOURCE)))

    def _write_planting(self, key: DatasetKey, planted: PlantedDataset) -> None:
        known, scheme = self._records[key], planted.scheme
        if (known.scheme, known.n, known.w, known.k) != (scheme.name, len(planted.marks), scheme.w, scheme.k):
            raise BadInput(f"{key} is to be marked with {known.scheme} and {known.n} probes, not with {scheme.name}")
        if known.dataset_root not in (None, planted.tree.root.hex()):
            raise BadInput(
                f"{key} was offered before with other marks, drawn with {known.generator}; now they came from "
                f"{planted.generator}: configure that generator again, or change the dataset"
            )
        leaves = [hash_row(planted.dataset_salt, row, scheme.w).leaf for row in planted.rows]
        body = {
            "scheme": asdict(cast(Any, scheme)),
            "generator": planted.generator,
            "dataset_salt": planted.dataset_salt.hex(),
            "marks": [asdict(mark) for mark in planted.marks],
            "leaves": b"".join(leaves).hex(),
        }
        self._files.write(self._path(key, PLANTED), json.dumps(body, ensure_ascii=False).encode())

    def _read_planting(self, key: DatasetKey) -> PlantedDataset:
        rows = self._read_source(key)
        if not self.is_planted(key):
            raise BadInput(f"{key} is not planted yet")
        body = json.loads(self._files.read(self._path(key, PLANTED)))
        make_scheme: Any = SCHEMES[body["scheme"]["name"]]
        scheme: Scheme = make_scheme(**body["scheme"])
        salt, leaves = Hash32(bytes.fromhex(body["dataset_salt"])), bytes.fromhex(body["leaves"])
        marks = tuple(_parse_mark(**mark) for mark in body["marks"])
        for mark in marks:
            rows[mark.row_index] = mark.row
        return PlantedDataset(
            rows=tuple(rows),
            scheme=scheme,
            source_data_hash=key.source_data_hash,
            dataset_salt=salt,
            marks=marks,
            mark_hashes=tuple(hash_row(salt, mark.row, scheme.w) for mark in marks),
            tree=MerkleTree(Hash32(leaves[i : i + 32]) for i in range(0, len(leaves), 32)),
            generator=body["generator"],
        )


def _parse_mark(row_index: int, row: dict[str, str], draw: dict[str, Any]) -> Mark:
    candidates = tuple(tuple(options) for options in draw["candidates"])
    return Mark(row_index, Row(**row), Draw(candidates, tuple(draw["picks"])))


def _read_record(path: Path) -> DatasetRecord:
    try:
        return DatasetRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadInput(f"{path} is damaged ({first_problem(error.errors())}): restore it from a backup") from None


def _hash_prompt(prompt: str) -> str:
    return keccak(prompt.encode()).hex()


def _estimate_bytes(planted: PlantedDataset) -> int:
    """Text as strings and once more as the training file, and some hundred bytes of objects and hashes a row."""
    return 3 * _count_characters(planted.rows) + 700 * len(planted.rows)


def _count_characters(rows: Iterable[Row]) -> int:
    return sum(len(row.prompt) + len(row.response) for row in rows)
