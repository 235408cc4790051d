"""`touchstone task fetch`: the paid model's files, there whole and as they are committed to on chain, or not at all."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from validator.control.client import ControlClient
from validator.customer.daemon import Place
from validator.errors import BadInput
from validator.protocol.commitment import ModelFile, hash_model_files
from validator.terminal import make_console
from validator.types import Hash32, TaskId


async def run_fetch(*, request_id: str, directory: Path, place: Place) -> None:
    """Fetch into a new directory; BadInput if there is no paid model, or a file is not as the chain says (W4, K7)."""
    unfinished = directory.with_name(f".{directory.name}.unfinished")
    async with place.control() as daemon:
        model = (await daemon.show(request_id))["model"]
        if model is None:
            raise BadInput("there is no model to fetch: it comes with a task that returns weights and has been paid")
        files = [ModelFile(path, size, bytes.fromhex(digest[2:])) for path, size, digest in model["files"]]
        await _check_commitment(files, model, await daemon.status(), place)
        _make_empty(directory, unfinished)
        try:
            for file in files:
                await _fetch(daemon, request_id, file, unfinished)
        except BadInput:
            shutil.rmtree(unfinished)
            raise
    _put_in_place(unfinished, directory)
    make_console().print(f"{len(files)} files in {directory}, as model {model['model_hash']} on chain")


async def _check_commitment(
    files: list[ModelFile], model: dict[str, Any], status: dict[str, Any], place: Place
) -> None:
    """What was submitted is read from the chain itself where a node is named; else the daemon's word is taken."""
    committed = Hash32(bytes.fromhex(model["model_hash"][2:]))
    if place.rpc is not None or place.config is not None:
        async with place.contract(status["contract"], status["chain_id"]) as contract:
            committed = await contract.model_hash(TaskId(bytes.fromhex(model["task_id"][2:])))
    if hash_model_files(files) != committed:
        raise BadInput(f"the validator's list of files is not the model 0x{committed.hex()} that is on chain")


async def _fetch(daemon: ControlClient, request_id: str, file: ModelFile, directory: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with _create(directory, file.path) as target:
        async for chunk in daemon.model_file(request_id, file.path):
            size += len(chunk)
            if size > file.size_bytes:
                break
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
    if size != file.size_bytes or digest.digest() != file.sha256:
        raise BadInput(f"{file.path} is not as the miner committed to it on chain: nothing was kept")


def _create(directory: Path, name: str) -> BinaryIO:
    path = directory / name
    if path.parent != directory or name.startswith("."):
        raise BadInput(f"the model has a file with the name {name!r}, which leads elsewhere")
    return path.open("xb")


def _make_empty(directory: Path, unfinished: Path) -> None:
    if directory.exists():
        raise BadInput(f"{directory} is there already: name a new directory")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"cannot create {unfinished}: {error.strerror}") from error


def _put_in_place(unfinished: Path, directory: Path) -> None:
    try:
        unfinished.rename(directory)
    except OSError as error:
        raise BadInput(f"cannot create {directory}: {error.strerror}") from error
