"""Dashboards: by Grafana's own schema, as generated, and on metrics that exist."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.deploy.queries import exported, mistakes, recorded
from tests.deploy.tools import DEPLOY, FETCHED, ROOT, complaints
from tests.support import require_or_skip

GRAFANA = DEPLOY / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
TYPES = ROOT / "tools" / "deploy" / "dashboard.ts"
OPTIONS = {"strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext", "moduleResolution": "bundler"}


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dashboards", GRAFANA / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look it up
    spec.loader.exec_module(module)
    return module


def check_schema(dashboards: dict[str, str], directory: Path) -> str:
    """Grafana publishes its schema as TypeScript: the JSON must be a literal of that type."""
    if not (FETCHED / "node_modules" / "@grafana" / "schema").is_dir():
        require_or_skip("no schema of Grafana's: `make checkers` fetches it")
    (directory / "node_modules").symlink_to(FETCHED / "node_modules")
    (directory / "dashboard.ts").write_text(TYPES.read_text())
    for name, text in dashboards.items():
        declaration = 'import type { Dashboard } from "./dashboard";\nexport const dashboard: Dashboard ='
        (directory / f"{name}.ts").write_text(f"{declaration} {text};\n")
    (directory / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": {**OPTIONS, "types": []}, "include": ["*.ts"]})
    )
    return complaints("tsc", "--project", directory, cwd=directory)


def test_the_files_are_what_the_tables_say():
    generator = load_generator()
    assert {path.stem for path in FILES} == generator.DASHBOARDS.keys()
    for path in FILES:
        assert path.read_text() == generator.to_text(generator.make_dashboard(path.stem)), (
            "run python deploy/grafana/make_dashboards.py"
        )


def test_grafana_knows_everything_that_is_in_them(tmp_path: Path):
    assert check_schema({path.stem: path.read_text() for path in FILES}, tmp_path) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"unit": "reqps"', '"unt": "reqps"'),
        ('"drawStyle": "line"', '"drawStyle": "lines"'),
        ('"showPercentChange": false', '"showPercentChange": "no"'),
        ('"placement": "bottom"', '"placing": "bottom"'),
        ('"type": "stat"', '"type": "stats"'),
        ('"expr"', '"query"'),
        ('"schemaVersion": 41,', ""),
        ('"refresh": 2', '"refresh": 7'),
    ],
)
def test_the_schema_sees_what_is_wrong(tmp_path: Path, old: str, new: str):
    text = (GRAFANA / "dashboards" / "chain.json").read_text()
    assert old in text
    assert "chain.ts" in check_schema({"chain": text.replace(old, new, 1)}, tmp_path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_ask_for_what_the_code_exports(path: Path):
    dashboard, known = json.loads(path.read_text()), recorded(exported())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert mistakes(target["expr"], known) == [], panel["title"]
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert any(label in labels for labels in ({"instance"}, *known.values())), panel["title"]
    for variable in dashboard["templating"]["list"]:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
        assert found is not None
        assert mistakes(f'{found[1]}{{{found[2]}=~".+"}}', known) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_lie_beside_each_other_and_explain_themselves(path: Path):
    panels = json.loads(path.read_text())["panels"]
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert all(panel["title"] and panel["description"] for panel in panels)


def test_grafana_finds_dashboards_and_source_where_compose_puts_them():
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/touchstone.yaml").read_text())["providers"]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounts = [mount.split(":")[:2] for mount in services["grafana"]["volumes"]]
    assert ["./grafana/dashboards", provider["options"]["path"]] in mounts
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    used = re.findall(r'"type": "prometheus",\s+"uid": "(\w+)"', "".join(path.read_text() for path in FILES))
    assert set(used) == {source["uid"]}
