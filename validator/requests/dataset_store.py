"""The customers' datasets and their plantings on disk: one folder for every (payer, D), sealed.

Rules kept: the first intake of a D fixes how it is marked, and its planting is reused byte for byte, since two
differently marked copies of one dataset reveal the marks by comparison (protocol, "Marks"); what that fixed, and which
rows have become public, outlives the data. Reading and hashing are the work of threads; what is kept in memory is the
marks, which are small however large their dataset is.
It is long because intake, planting, publication and deletion all keep one record.
"""

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from validator.errors import BadInput, first_problem
from validator.files import write_whole
from validator.marks.coverage import CoverageMark
from validator.marks.planting import MAX_LENGTH, PlantedDataset, PlantedMarks, check_learnable, hash_source_data
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.schemes import Scheme
from validator.protocol.commitment import Row, hash_spec, keccak
from validator.protocol.wire import encode_training_file, parse_training_file
from validator.requests.planting_file import decode_coverage, decode_marks, encode_coverage, encode_marks
from validator.sealed_files import SealedFiles
from validator.types import Address, Hash32

MAX_DATASET_BYTES = 32 << 20
"""Of one D: what a daemon of 512 MiB can read, hash and hand to a child without running out."""
MAX_LOADED = 256
"""Marks that are kept in memory, some hundred kilobytes each."""

ABOUT, SOURCE, PROMPTS = "about.json", "source.sealed", "prompts.sealed"
MARKS, COVERAGE, TRAINING = "marks.sealed", "coverage.sealed", "training.sealed"
DIGEST_BYTES = 8
"""Of a prompt, where prompts are compared: of a million, two are taken for the same with a chance of 3e-8."""


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

    `max_length` are the tokens of a row that the first request for it trains on, so that later ones are marked alike.
    `revealed` are keccak-256 hashes of its prompts that are public, by its own settlement (`is_settled`) or by that of
    another dataset which shares them. `generator` and `dataset_root` are written down when the planting is deleted, so
    that a later one can be held to them. `base_hits` are those of the base model of each spec, by the spec's hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    payer: Address
    source_data_hash: str
    rows: int
    scheme: str
    n: int
    w: int
    k: int
    max_length: int = MAX_LENGTH
    rules: AlterationRules = ALL_PROTECTED
    revealed: tuple[str, ...] = ()
    is_settled: bool = False
    generator: str | None = None
    dataset_root: str | None = None
    base_hits: dict[str, int] = {}

    @property
    def key(self) -> DatasetKey:
        return DatasetKey(self.payer, Hash32(bytes.fromhex(self.source_data_hash)))


class DatasetStore:
    """The folder `directory`, created if need be; BadInput if it cannot be used.

    `key` (32 bytes) seals the data. `max_bytes` bounds what is taken in together with what lies in `counted`, the
    folders that fill the same disk, such as returned models.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        *,
        max_bytes: int,
        counted: Sequence[Path] = (),
    ) -> None:
        self._directory = directory
        self._files = SealedFiles(key)
        self._max_bytes = max_bytes
        self._counted = (directory, *counted)
        self._loaded: OrderedDict[DatasetKey, PlantedMarks] = OrderedDict()
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
        return self._path(key, MARKS).exists()

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
        self,
        payer: Address,
        rows: Sequence[Row],
        scheme: Scheme,
        n: int,
        *,
        max_length: int = MAX_LENGTH,
        is_reusing_revealed: bool = False,
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
                    max_length=max_length,
                    rules=scheme.rules,
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
            self._remember(key, planted.without_rows())

    def base_hits(self, key: DatasetKey, spec: str) -> int | None:
        """How many of its probes the base model of this spec hits untrained, where that was measured."""
        return self._records[key].base_hits.get(hash_spec(spec).hex())

    def keep_base_hits(self, key: DatasetKey, spec: str, hits: int | None) -> None:
        """Note what was measured; nothing where it could not be."""
        if hits is not None:
            record = self._records[key]
            known = record.base_hits | {hash_spec(spec).hex(): hits}
            self._write_record(record.model_copy(update={"base_hits": known}))

    async def marks(self, key: DatasetKey) -> PlantedMarks:
        """The marks of a planted dataset; BadInput if they are not here."""
        async with self._lock:
            if key not in self._loaded:
                self._remember(key, await asyncio.to_thread(self._read_marks, key))
            self._loaded.move_to_end(key)
            return self._loaded[key]

    async def covered(self, key: DatasetKey) -> list[tuple[Row, CoverageMark]]:
        """The rows of D_train with a coverage mark, and it; BadInput if they are not here."""
        return await asyncio.to_thread(self._read_covered, key)

    async def training_file(self, key: DatasetKey) -> bytes:
        """D_train, byte for byte as it was planted; BadInput if it is not here."""
        return await asyncio.to_thread(self._read, key, TRAINING, "is not planted yet")

    async def reveal(self, key: DatasetKey) -> None:
        """Note that the probed rows are public: for ever, and before anything is deleted. Again changes nothing."""
        if self._records[key].is_settled or not self.is_planted(key):
            return
        public = {_digest(prompt) for prompt in (await self.marks(key)).source_prompts}
        await asyncio.to_thread(self._reveal_everywhere, public)
        self._write_record(self._records[key].model_copy(update={"is_settled": True}))

    def _reveal_everywhere(self, public: set[str]) -> None:
        for key in self.present():
            digests = self._read(key, PROMPTS, "was never handed in").hex()
            here = {digests[i : i + 2 * DIGEST_BYTES] for i in range(0, len(digests), 2 * DIGEST_BYTES)}
            self._add_revealed(key, public & here)

    def _add_revealed(self, key: DatasetKey, public: set[str]) -> None:
        record = self._records[key]
        if not public.issubset(record.revealed):
            revealed = tuple(sorted(public.union(record.revealed)))
            self._write_record(record.model_copy(update={"revealed": revealed}))

    def delete(self, key: DatasetKey, marks: PlantedMarks | None) -> None:
        """Forget the rows and their marks. What was offered once is noted first, so that nothing else ever is.

        `marks` are those of the dataset, if it is planted: nothing is waited for, so that nobody can come to want it
        between the caller's decision and this.
        """
        if marks is not None:
            update = {"generator": marks.generator, "dataset_root": marks.dataset_root.hex()}
            self._write_record(self._records[key].model_copy(update=update))
        elif self._records[key].dataset_root is None:
            shutil.rmtree(self._directory / key.folder)  # Never offered to anybody: nothing is fixed.
            del self._records[key]
            return
        self._loaded.pop(key, None)
        for name in (MARKS, COVERAGE, TRAINING, PROMPTS, SOURCE):
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
        if known and known.rules != scheme.rules:
            raise BadInput(
                "this dataset was marked under other rules before; two differently marked copies would show the marks: "
                f"hand it in with --protect and {known.rules.to_json()}"
            )
        if not is_reusing_revealed:
            self._check_revealed(rows)
        if not self._path(key, SOURCE).exists():
            self._check_room(2 * len(data))
        return key

    def _check_revealed(self, rows: Sequence[Row]) -> None:
        public = {digest for record in self._records.values() for digest in record.revealed}
        found = [number for number, row in enumerate(rows, 1) if public and _digest(row.prompt) in public]
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

    def _remember(self, key: DatasetKey, planted: PlantedMarks) -> None:
        self._loaded[key] = planted
        while len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)

    def _write_record(self, record: DatasetRecord) -> None:
        write_whole(self._path(record.key, ABOUT), record.model_dump_json(indent=2) + "\n", mode=0o600)
        self._records[record.key] = record

    def _write_source(self, record: DatasetRecord, rows: Sequence[Row]) -> None:
        (self._directory / record.key.folder).mkdir(mode=0o700, exist_ok=True)
        self._write_record(record)
        digests = bytes.fromhex("".join(_digest(row.prompt) for row in rows))
        self._files.write(self._path(record.key, PROMPTS), digests)
        self._files.write(self._path(record.key, SOURCE), encode_training_file(rows))

    def _read(self, key: DatasetKey, name: str, if_absent: str) -> bytes:
        if not self._path(key, name).exists():
            raise BadInput(f"{key} is not here: it was deleted, or {if_absent}")
        return self._files.read(self._path(key, name))

    def _read_source(self, key: DatasetKey) -> list[Row]:
        return parse_training_file(self._read(key, SOURCE, "was never handed in"))

    def _write_planting(self, key: DatasetKey, planted: PlantedDataset) -> None:
        known, scheme = self._records[key], planted.scheme
        if (known.scheme, known.n, known.w, known.k) != (scheme.name, len(planted.marks), scheme.w, scheme.k):
            raise BadInput(f"{key} is to be marked with {known.scheme} and {known.n} probes, not with {scheme.name}")
        if known.dataset_root not in (None, planted.dataset_root.hex()):
            raise BadInput(
                f"{key} was offered before with other marks, drawn with {known.generator}; now they came from "
                f"{planted.generator}: configure that generator again, or change the dataset"
            )
        self._files.write(self._path(key, TRAINING), planted.training_file)
        self._files.write(self._path(key, COVERAGE), encode_coverage(planted.coverage))
        self._files.write(self._path(key, MARKS), encode_marks(planted))

    def _read_covered(self, key: DatasetKey) -> list[tuple[Row, CoverageMark]]:
        marks = decode_coverage(self._read(key, COVERAGE, "is not planted yet"))
        rows = parse_training_file(self._read(key, TRAINING, "is not planted yet"))
        return [(rows[mark.row_index], mark) for mark in marks]

    def _read_marks(self, key: DatasetKey) -> PlantedMarks:
        return decode_marks(self._read(key, MARKS, "is not planted yet"), key.source_data_hash)


def _read_record(path: Path) -> DatasetRecord:
    try:
        return DatasetRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadInput(f"{path} is damaged ({first_problem(error.errors())}): restore it from a backup") from None


def _digest(prompt: str) -> str:
    return keccak(prompt.encode())[:DIGEST_BYTES].hex()
