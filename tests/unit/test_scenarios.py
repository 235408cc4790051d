"""Scenarios: what is in the library, what a file may say, and the one line where it says something else."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, web

from tests.edges.loopback import serving
from validator.errors import BadInput
from validator.simulation.bad_line import bad_line
from validator.simulation.options import parse_miners
from validator.simulation.scenario import LIBRARY, SUFFIX, Scenario, library, load_scenario, make_scenario

POPULATION = '[population]\nhonest = { strategy = "honest" }\n'
OWN_STRATEGY = """
from miner_sim.strategies import Strategy

class Idle(Strategy):
    usage = "scenario-test-idle"

    async def make_model(self, workshop):
        return await workshop.leave_untrained()
"""


def load(directory: Path, text: str) -> Scenario:
    path = directory / "mine.toml"
    path.write_text(text)
    return load_scenario(str(path))


def test_the_library_is_named_as_its_files_and_says_what_each_shows() -> None:
    shipped = library()
    assert len(shipped) >= 8
    for name, scenario in shipped.items():
        assert scenario.name == name
        assert len(scenario.about) > 30
        assert load_scenario(name) == load_scenario(str(LIBRARY / f"{name}{SUFFIX}")) == scenario


def test_a_file_says_who_takes_part_and_in_what(tmp_path: Path) -> None:
    text = """
    name = "mine"
    scheme = "backdoor"
    seed = 5
    [population]
    good = { strategy = "honest", count = 2 }
    "a third" = { strategy = "partial:0.33" }
    [spec]
    method = "lora"
    rank = 8
    batch_size = 2
    """
    scenario = load(tmp_path, text)
    plans = [(plan.name, plan.strategy) for plan in scenario.miners]
    assert plans == [("good-1", "honest"), ("good-2", "honest"), ("a-third-1", "partial:0.33")]
    spec = scenario.spec.of_model("m")
    assert (spec.method, spec.rank, spec.batch_size, spec.epochs) == ("lora", 8, 2, 12)


def test_the_command_line_goes_before_the_file_key_by_key(tmp_path: Path) -> None:
    scenario = load(tmp_path, "seed = 5\nrows = 400\n" + POPULATION + "[spec]\nepochs = 3\nbatch_size = 2\n")
    given = scenario.overridden({"seed": 6, "spec": {"epochs": 4}, "population": parse_miners("base=1,noise:1=2")})
    assert (given.seed, given.rows, given.spec.epochs, given.spec.batch_size) == (6, 400, 4, 2)
    assert [plan.name for plan in given.miners] == ["base-1", "noise-1-1", "noise-1-2"]
    with pytest.raises(BadInput, match=r"^spec: the method lora has a rank"):
        scenario.overridden({"spec": {"method": "lora"}})


def test_a_strategy_on_the_command_line_may_hold_commas() -> None:
    population = parse_miners(" honest=1, flagged:mean-likelihood,0.3=2,lookup:0.5,1=1,honest=2")
    assert {strategy: group["count"] for strategy, group in population.items()} == {
        "honest": 3,
        "flagged:mean-likelihood,0.3": 2,
        "lookup:0.5,1": 1,
    }


@pytest.mark.parametrize(
    "text", ["", "honest", "honest=", "honest=0", "=1", "honest=1,", "honest=1;base=1", "honest=-1"]
)
def test_miners_on_the_command_line_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="strategy=count pairs"):
        parse_miners(text)


def test_paths_are_taken_from_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(OWN_STRATEGY)
    text = 'data = "rows.jsonl"\nstrategies = ["idle.py"]\n[population]\nidle = { strategy = "scenario-test-idle" }\n'
    scenario = load(tmp_path, text)
    assert scenario.data == tmp_path / "rows.jsonl"
    assert scenario.strategies == [tmp_path / "idle.py"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "population: Field required"),
        ("[population]\n", "population: Dictionary should have at least 1 item"),
        ("seed = \n", "is no TOML: Invalid value"),
        ('colour = "red"\n' + POPULATION, "colour: Extra inputs are not permitted"),
        ("[population]\nhonest = { count = 2 }\n", "population.honest.strategy: Field required"),
        ('[population]\nx = { strategy = "saint" }\n', "population: unknown strategy 'saint'; known are "),
        ('[population]\nx = { strategy = "honest", count = 65 }\n', "population: at most 64 miners"),
        ('[population]\n"a b" = { strategy = "base" }\na-b = { strategy = "base" }\n', "population: names of groups"),
        ('strategies = ["none.py"]\n' + POPULATION, "none.py cannot be loaded: FileNotFoundError"),
        ('weights = "some"\n' + POPULATION, "weights: Input should be 'none', 'delivered' or 'judged'"),
        ("seed = -1\n" + POPULATION, "seed: Input should be greater than or equal to 0"),
        ("probes = 8\n" + POPULATION, "probes is 16 to 64"),
        ('scheme = "watermark"\n' + POPULATION, "unknown scheme 'watermark'"),
        ('chain = "mainnet"\n' + POPULATION, "unknown chain 'mainnet'"),
        (POPULATION + "[spec]\nepochs = 0\n", "spec: the number of epochs is 1 to 100, not 0"),
        (POPULATION + "[spec]\nspeed = 1\n", "spec.speed: Extra inputs are not permitted"),
        (POPULATION + "[faults]\nnode_loss = 1.0\n", "faults.node_loss: Input should be less than 1"),
        (POPULATION + "[faults]\nblock_time_s = 2\n", 'faults.block_time_s needs chain = "anvil"'),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refusal:
        load(tmp_path, text)
    line = str(refusal.value)
    assert line.startswith(str(tmp_path / "mine.toml"))
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dmeo", r"there is no scenario 'dmeo': .* demo,"), ("nowhere.toml", "cannot read nowhere.toml: No such file")],
)
def test_a_scenario_that_is_not_there(name: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        load_scenario(name)


def test_tables_of_another_place_are_checked_alike() -> None:
    with pytest.raises(BadInput, match=r"^rows: Input should be greater"):
        make_scenario({"rows": 0, "population": parse_miners("base=1")})


async def test_a_bad_line_is_slow_and_breaks_by_its_seed() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="here")

    async def ask(session: ClientSession, url: str) -> bool:
        try:
            async with session.get(url) as response:
                return await response.text() == "here"
        except ClientError:
            return False

    async with serving(answer) as url, ClientSession() as session:
        loop = asyncio.get_running_loop()
        async with bad_line(url, delay_s=0.2, loss=0, seed=1) as slow:
            began_s = loop.time()
            assert await ask(session, slow)
            assert loop.time() - began_s >= 0.2
        outcomes = []
        for _ in range(2):
            async with bad_line(url, delay_s=0, loss=0.5, seed=1) as bad:
                outcomes.append([await ask(session, bad) for _ in range(12)])
    assert outcomes[0] == outcomes[1]
    assert 2 <= sum(outcomes[0]) <= 10
