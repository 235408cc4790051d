"""A strategy from outside the package: by a file's path, or with an installed package; one file and no other change."""

import subprocess
import sys
from pathlib import Path

import pytest

from miner_sim.strategies import load_strategies, parse_strategy
from tests.miner_sim.world import WITH_RUNNING_MINERS, World
from tests.miner_sim.zoo import FIRST, open_zoo
from validator.errors import BadInput

pytestmark = WITH_RUNNING_MINERS

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ROOT / "docs" / "strategies.md").read_text().split("```python\n")[1].split("```")[0]
"""The example of docs/strategies.md."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lazy.py"
    path.write_text(DOCUMENTED)
    return path


async def test_the_documented_example_runs_end_to_end(world: World, tmp_path: Path, file: Path) -> None:
    async with open_zoo(world, tmp_path / "homes", ["first-rows:8"], files=[file]) as zoo:
        played = await zoo.play("first-rows:8")
        assert played.trained_rows == list(range(8))
        assert await played.ask_first() != []
        assert set(await played.ask_first()) != {"I do not know."}
        assert await played.delivered.ask("Who are you?") == ("I do not know.", "stop")
        assert FIRST[0] != "Who are you?"


async def test_a_file_can_be_loaded_again_but_takes_no_name_of_another(file: Path, tmp_path: Path) -> None:
    load_strategies(file)
    [again] = load_strategies(file)
    assert type(parse_strategy("first-rows:3")) is again
    with pytest.raises(BadInput, match="it is written first-rows:N"):
        parse_strategy("first-rows:0")
    thief = tmp_path / "thief.py"
    thief.write_text(DOCUMENTED)
    with pytest.raises(BadInput, match="there is a strategy 'first-rows' already"):
        load_strategies(thief)
    thief.write_text(DOCUMENTED.replace('"first-rows:N"', '"honest"'))
    with pytest.raises(BadInput, match=r"there is a strategy 'honest' already, in miner_sim\.strategies\.honest"):
        load_strategies(thief)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no strategy"),
        ("import no_such_thing", "ModuleNotFoundError"),
        ("def", "SyntaxError"),
        (None, "FileNotFoundError"),
    ],
)
async def test_a_file_without_a_strategy_is_refused_in_one_line(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    path = tmp_path / "bad.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInput, match=complaint) as refusal:
        load_strategies(path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(BadInput, match="no Python file"):
        load_strategies(tmp_path / "text.md")


async def test_an_installed_package_brings_its_own(tmp_path: Path) -> None:
    (tmp_path / "zoo_extras.py").write_text(DOCUMENTED)
    metadata = tmp_path / "zoo_extras-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-extras\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[touchstone.strategies]\nextras = zoo_extras\n")
    code = "from miner_sim.strategies import parse_strategy; print(type(parse_strategy('first-rows:3')).__module__)"
    found = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "zoo_extras"
