"""From a grid to its rounds: who plays with whom, under which key, and what is said of a mistake."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from miner_sim.detection import detector_names
from miner_sim.strategies import known_strategies
from validator.errors import BadInput
from validator.tournament.command import check_scenarios
from validator.tournament.grid import Grid, find_grid, load_grid, merge, pack
from validator.tournament.rounds import Round
from validator.tournament.worker import make_round_scenario

GRID = """
name = "two schemes"
about = "Everything that a grid can say."
miners_per_round = 2
[settings]
rows = 300
spec = { epochs = 8, learning_rate = 0.004 }
[schemes.canary]
scheme = "canary"
[schemes.judged]
scheme = "canary+coverage"
weights = "judged"
[parameters.long]
spec = { epochs = 16 }
[parameters.short]
[[parts]]
strategies = ["honest", "base", ["honest", "copy"]]
seeds = 2
[[parts]]
strategies = ["honest"]
schemes = ["judged"]
parameters = ["short"]
first_seed = 2
seeds = 3
"""


def load(directory: Path, text: str) -> Grid:
    path = directory / "grid.toml"
    path.write_text(text)
    return load_grid(path)


def test_every_strategy_meets_every_scheme_all_parameters_and_every_seed(tmp_path):
    rounds = load(tmp_path, GRID).plan()
    met = Counter(
        (strategy, planned.scheme, planned.parameters, planned.seed)
        for planned in rounds
        for strategy in planned.strategies
        if strategy != "honest"
    )
    expected = {
        (strategy, scheme, parameters, seed)
        for strategy in ("base", "copy")
        for scheme in ("canary", "judged")
        for parameters in ("long", "short")
        for seed in (0, 1)
    }
    assert dict(met) == dict.fromkeys(expected, 1)
    assert [(r.seed, r.scheme, r.parameters) for r in rounds][-3:] == [(s, "judged", "short") for s in (2, 3, 4)]


def test_all_is_seen_once_before_anything_is_seen_twice(tmp_path):
    seeds = [planned.seed for planned in load(tmp_path, GRID).plan()]
    assert seeds == sorted(seeds)


def test_settings_are_laid_over_each_other_key_by_key(tmp_path):
    settings = {(planned.scheme, planned.parameters): planned.settings for planned in load(tmp_path, GRID).plan()}
    assert settings["judged", "long"] == {
        "rows": 300,
        "spec": {"epochs": 16, "learning_rate": 0.004},
        "scheme": "canary+coverage",
        "weights": "judged",
    }
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


def test_a_company_meets_in_one_round_and_nobody_is_in_a_round_twice_for_no_reason():
    assert pack([("honest",), ("base",), ("honest", "copy")], 2) == [("honest", "base"), ("honest", "copy")]
    assert pack([("honest",), ("base",), ("honest", "copy")], 3) == [("honest", "base", "copy")]
    assert pack([("sybil", "sybil"), ("base",)], 3) == [("sybil", "sybil", "base")]


def test_a_key_is_that_of_the_round_whatever_process_asks_and_changes_with_every_part():
    planned = Round("canary", "default", 3, ("honest", "base"), {"rows": 300, "epochs": 8})
    canonical = (
        'round 1:{"parameters":"default","scheme":"canary","seed":3,"settings":{"epochs":8,"rows":300},'
        '"strategies":["honest","base"]}'
    )
    assert planned.key == hashlib.sha256(canonical.encode()).hexdigest()
    others = [
        Round("backdoor", "default", 3, ("honest", "base"), {"rows": 300, "epochs": 8}),
        Round("canary", "long", 3, ("honest", "base"), {"rows": 300, "epochs": 8}),
        Round("canary", "default", 4, ("honest", "base"), {"rows": 300, "epochs": 8}),
        Round("canary", "default", 3, ("base", "honest"), {"rows": 300, "epochs": 8}),
        Round("canary", "default", 3, ("honest", "base"), {"rows": 301, "epochs": 8}),
    ]
    assert len({planned.key, *(other.key for other in others)}) == 6
    same = Round("canary", "default", 3, ("honest", "base"), {"epochs": 8, "rows": 300})
    assert (same.key, Round.from_canonical(same.canonical)) == (planned.key, planned)


def test_a_part_that_is_appended_changes_no_earlier_round(tmp_path):
    before = load(tmp_path, GRID).plan()
    after = load(tmp_path, GRID + '[[parts]]\nstrategies = ["noise"]\nseeds = 1\n').plan()
    assert {planned.key for planned in before} < {planned.key for planned in after}
    assert len(after) == len(before) + 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '["judged"]',
            '["jugded"]',
            r"parts\.1\.schemes: there is no 'jugded' in \[schemes\]; known are canary, judged",
        ),
        ("seeds = 2", "seeds = 0", r"parts\.0\.seeds: .*greater than or equal to 1"),
        ("seeds = 2", "seed = 2", r"parts\.0\.seed: Extra inputs"),
        ('"base", [', '"honest", [', r"parts\.0\.strategies: honest is listed 2 times"),
        ('["honest", "copy"]', '["honest", "a", "b"]', r"3 in one company, but miners_per_round is smaller"),
        ("[schemes.canary]", "[schemes.canary", r"is no TOML: .*line 8"),
        ("miners_per_round = 2", "miners_per_round = 65", r"miners_per_round: .*less than or equal to 64"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_place(tmp_path, old, new, message):
    assert old in GRID
    with pytest.raises(BadInput, match=f"grid.toml.*{message}") as raised:
        load(tmp_path, GRID.replace(old, new))
    assert "\n" not in str(raised.value)


def test_paths_are_taken_from_where_the_grid_is(tmp_path):
    grid = GRID.replace("rows = 300", 'rows = 300\ndata = "rows.jsonl"').replace(
        "[parameters.short]", '[parameters.short]\nstrategies = ["mine.py"]'
    )
    first, *_others, last = load(tmp_path, grid).plan()
    assert first.settings["data"] == last.settings["data"] == str(tmp_path / "rows.jsonl")
    assert last.settings["strategies"] == [str(tmp_path / "mine.py")]
    assert Round.from_canonical(last.canonical) == last


def test_the_shipped_grid_has_every_strategy_and_the_closest_thirty_seeds():
    shipped = {
        name for name, strategy in known_strategies().items() if strategy.__module__.startswith("miner_sim.strategies.")
    }
    rounds = load_grid(find_grid("published")).plan()
    played = {(planned.scheme, strategy, planned.seed) for planned in rounds for strategy in planned.strategies}
    assert {strategy.split(":")[0] for _scheme, strategy, _seed in played} == shipped
    for scheme in ("canary", "coverage, judged"):
        seeds = Counter(strategy for of, strategy, _seed in played if of == scheme)
        assert seeds["honest"] == 30
        assert sorted(seeds.values(), reverse=True)[:8] == [30] * 7 + [5]


def test_the_other_shipped_grid_uses_every_detector_twice():
    (part,) = load_grid(find_grid("detectors")).parts
    assert part.strategies == [
        "honest",
        *(f"{use}:{name}" for name in detector_names() for use in ("flagged", "unflagged")),
    ]


@pytest.mark.parametrize("name", ["published", "detectors"])
def test_every_round_of_a_shipped_grid_is_a_scenario(name):
    check_scenarios(load_grid(find_grid(name)).plan())


def test_what_a_scenario_refuses_is_refused_before_anything_is_played(tmp_path):
    with pytest.raises(BadInput, match=r"scheme canary, parameters long: .*unknown strategy 'copyist'"):
        check_scenarios(load(tmp_path, GRID.replace('"copy"', '"copyist"')).plan())
    with pytest.raises(BadInput, match=r"scheme canary, parameters long: .*rowz"):
        check_scenarios(load(tmp_path, GRID.replace("rows =", "rowz =")).plan())


def test_miners_with_long_names_are_told_apart_whoever_else_is_there():
    long = "flagged:likelihood-of-the-first-4-words-adapted"
    alone = make_round_scenario(Round("canary", "default", 0, (long,), {}))
    together = make_round_scenario(Round("canary", "default", 0, (long, long.removesuffix("-adapted")), {}))
    assert alone.miners[0] == together.miners[0]
    assert len({miner.name for miner in together.miners}) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nothing\.toml: No such file"):
        load_grid(tmp_path / "nothing.toml")
