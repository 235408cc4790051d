"""What the pages say of defaults and figures is what the code has."""

import re
import runpy
import tomllib

import pytest

from tests.docs.pages import PAGES, ROOT, toml_blocks
from validator.marks.schemes import make_scheme
from validator.miner.settings import MinerDaemonSettings
from validator.plan.terms import choose_thresholds
from validator.requests.quotes import judge
from validator.settings import Settings
from validator.simulation.scenario import load_scenario
from validator.tournament.grid import load_grid

KINDS = (Settings, MinerDaemonSettings)


def test_the_page_says_what_the_code_says() -> None:
    """`python tools/site/settings_page.py` writes it."""
    pages = runpy.run_path(str(ROOT / "tools" / "site" / "settings_page.py"))["render"]()
    assert len(pages) == 3
    assert pages == {name: (ROOT / "docs" / name).read_text() for name in pages}


def test_the_scenario_and_the_grid_of_the_simulators_guide_are_read(tmp_path) -> None:
    scenario, grid = (tmp_path / name for name in ("mine.toml", "grid.toml"))
    for path, text in zip((scenario, grid), toml_blocks("docs/simulator.md"), strict=True):
        path.write_text(text)
    assert [miner.strategy for miner in load_scenario(str(scenario)).miners][-1] == "lookup"
    # 20 seeds of two parameters.
    assert len(load_grid(grid).plan()) == 40


def test_settings_that_pages_name_are_there() -> None:
    for page in PAGES:
        for table, key in re.findall(r"`([a-z_]+)\.(?!(?:py|md|toml|log)`)([a-z_]+)(?:`| = )", page.read_text()):
            tables = [kind.model_fields[table].annotation for kind in KINDS if table in kind.model_fields]
            assert not tables or any(key in found.model_fields for found in tables), f"{page.name}: {table}.{key}"


def test_the_newest_version_of_the_changelog_is_ours() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert versions[0] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("name", ["docs/protocol.md", "docs/customer.md", "docs/science.md", "docs/schemes/canary.md"])
def test_how_unlikely_a_pass_is_said_as_it_is(name: str) -> None:
    """12 of 16 of the default scheme; of `p < 1e-11` and `a probability under 1e-11`."""
    scheme, thresholds = make_scheme("canary"), choose_thresholds(16, slashing=False)
    bound = judge(scheme, thresholds, thresholds.k_pay).false_pay_bound
    text = (ROOT / name).read_text()
    said = re.findall(r"12 (?:hits )?of 16[^.|]*?(?:under|p <) (1e-\d+)", text)
    assert said
    for figure in said:
        assert bound < float(figure) < 10 * bound, f"{name} says {figure}, and it is {bound:.1e}"
