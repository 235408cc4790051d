"""Uploads: multipart in any order of its parts, under a size cap, and nothing left behind by a refused one."""

from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData

from miner_sim.fleet import RunningMiner
from tests.miner_sim.world import WITH_RUNNING_MINERS, World
from validator.miner import files

pytestmark = WITH_RUNNING_MINERS


async def upload(world: World, miner: RunningMiner, *parts: str, purpose: str = "fine-tune") -> tuple[int, str]:
    form = FormData(default_to_multipart=True)
    for part in parts:
        if part == "file":
            form.add_field("file", b"x" * 100, filename="x.jsonl")
        else:
            form.add_field(part, purpose)
    headers = {"Authorization": f"Bearer {await world.session(miner.address)}"}
    async with ClientSession() as http, http.post(f"{miner.url}/v1/files", data=form, headers=headers) as response:
        body = await response.json()
        return response.status, body.get("id") or body["error"]["message"]


@pytest.fixture
def miner(miners: dict[str, RunningMiner]) -> RunningMiner:
    return miners["noise"]


@pytest.mark.parametrize("parts", [("purpose", "file"), ("file", "purpose")], ids=str)
async def test_parts_come_in_any_order(world: World, miner: RunningMiner, homes: Path, parts: tuple[str, ...]) -> None:
    status, file_id = await upload(world, miner, *parts)
    assert status == 200
    assert (homes / "noise" / "files" / file_id).read_bytes() == b"x" * 100


@pytest.mark.parametrize(
    "parts",
    [("purpose",), ("file",), ("purpose", "file", "file"), ("purpose", "file", "expires_after[anchor]")],
    ids=str,
)
async def test_missing_doubled_and_unknown_parts_are_refused_and_leave_nothing(
    world: World, miner: RunningMiner, homes: Path, parts: tuple[str, ...]
) -> None:
    before = sorted((homes / "noise" / "files").iterdir())
    assert (await upload(world, miner, *parts))[0] == 400
    assert sorted((homes / "noise" / "files").iterdir()) == before


async def test_another_purpose_is_refused(world: World, miner: RunningMiner) -> None:
    assert (await upload(world, miner, "purpose", "file", purpose="assistants"))[0] == 400


async def test_a_file_over_the_cap_is_refused_and_leaves_nothing(
    world: World, miner: RunningMiner, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N2."""
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 99)
    before = sorted((homes / "noise" / "files").iterdir())
    assert (await upload(world, miner, "purpose", "file"))[0] == 413
    assert sorted((homes / "noise" / "files").iterdir()) == before


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"no parts"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut off'),
    ],
)
async def test_what_is_no_multipart_upload_is_refused(
    world: World, miner: RunningMiner, content_type: str, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {await world.session(miner.address)}", "Content-Type": content_type}
    async with ClientSession() as http, http.post(f"{miner.url}/v1/files", data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"
