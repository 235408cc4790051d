"""Imports point downwards only: the rules of docs/architecture.md, read from the syntax trees of the code."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("validator", "miner_sim", "contracts")
FOUNDATION = {"validator.types", "validator.errors"}
STANDARD = set(sys.stdlib_module_names)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imported_names(path: Path) -> Iterator[str]:
    """Every imported module in full; of `from package import name`, the module `package.name` where there is one."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


IMPORTS = {name: set(imported_names(path)) for name, path in MODULES.items()}


def is_under(name: str, *roots: str) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


def ours(name: str) -> set[str]:
    return {imported for imported in IMPORTS[name] if is_under(imported, *PACKAGES)}


def foreign(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in IMPORTS[name] - ours(name)} - STANDARD


def importers(library: str) -> set[str]:
    return {name for name, imported in IMPORTS.items() if any(is_under(other, library) for other in imported)}


def modules_under(*roots: str) -> list[str]:
    return [name for name in MODULES if is_under(name, *roots)]


def strangers(name: str, *allowed: str) -> set[str]:
    """What a module imports of our own beyond `allowed`."""
    return {imported for imported in ours(name) if not is_under(imported, *allowed)}


def test_the_rooms_are_where_the_rules_look():
    for room in ("validator.protocol", "validator.marks", "validator.plan", "validator.edges", "miner_sim"):
        assert len(modules_under(room)) > 1, room


@pytest.mark.parametrize("name", modules_under("validator.protocol"))
def test_protocol_is_pure(name):
    """No I/O, clock, randomness, logging or asyncio: nothing but arithmetic, encodings and the foundation."""
    assert strangers(name, "validator.protocol", *FOUNDATION) == set()
    assert foreign(name) <= {"eth_abi", "eth_utils", "numpy", "scipy"}
    impure = {"asyncio", "datetime", "logging", "os", "pathlib", "random", "secrets", "socket", "threading", "time"}
    assert {imported.partition(".")[0] for imported in IMPORTS[name]} & impure == set()


@pytest.mark.parametrize("name", modules_under("validator.marks", "validator.plan"))
def test_marks_and_plan_know_only_the_protocol(name):
    allowed = ("validator.protocol", "validator.config", "validator.marks", "validator.plan", *FOUNDATION)
    assert strangers(name, *allowed) == set()
    assert foreign(name) <= {"cryptography", "eth_abi", "numpy", "re2", "scipy"}


@pytest.mark.parametrize("name", modules_under("validator.design"))
def test_a_design_needs_no_chain_no_key_and_no_data(name):
    allowed = ["validator.design", "validator.plan", "validator.marks", "validator.coverage.reference"]
    people = ["validator.amounts", "validator.terminal", "validator.files"]
    assert strangers(name, *allowed, *people, *FOUNDATION) == set()


@pytest.mark.parametrize("name", modules_under("validator.html"))
def test_pages_know_nothing_of_what_they_show(name):
    assert strangers(name, "validator.html", "validator.files", *FOUNDATION) == set()


@pytest.mark.parametrize("name", modules_under("validator.evidence"))
def test_evidence_knows_only_protocol_and_marks(name):
    """An auditor loads no edge with it; whose signature it is only keys.py can tell."""
    coverage = [f"validator.coverage.{module}" for module in ("reference", "result")]
    allowed = ["validator.evidence", "validator.protocol", "validator.marks", *coverage, *FOUNDATION]
    if name == "validator.evidence.store":
        allowed += ["validator.files", "validator.sealed_files"]
    if name == "validator.evidence.check":
        allowed.append("validator.edges.keys")
    assert strangers(name, *allowed) == set()


READS_A_CHAIN = ("bundles", "chain", "contract", "keys")


@pytest.mark.parametrize("name", modules_under("validator.audit"))
def test_an_audit_needs_nothing_of_the_daemon(name):
    """What it recomputes with is pure, and of the edges it knows those that only read; no key is within its reach."""
    edges = [f"validator.edges.{edge}" for edge in READS_A_CHAIN]
    pure = ["validator.protocol", "validator.marks", "validator.plan", "validator.coverage", "validator.config"]
    people = ["validator.amounts", "validator.files", "validator.html", "validator.sqlite_file", "validator.terminal"]
    allowed = ["validator.audit", "validator.evidence", "contracts", *edges, *pure, *people, *FOUNDATION]
    assert strangers(name, *allowed) == set()
    assert "validator.marks.secrets" not in ours(name)
    assert "validator.evidence.store" not in ours(name)


@pytest.mark.parametrize("name", modules_under("validator.web"))
def test_the_web_reaches_nothing_secret(name):
    allowed = (
        "validator.web",
        "validator.evidence",
        "validator.health.progress",
        "validator.telemetry",
        "validator.door",
    )
    assert strangers(name, *allowed, *FOUNDATION) == set()


@pytest.mark.parametrize("name", modules_under("validator.weights"))
def test_what_opens_a_strangers_weights_knows_no_secret(name):
    shared = ("validator.protocol", "validator.child_processes", "validator.coverage", "validator.marks.coverage")
    allowed = ["validator.weights", *shared, *FOUNDATION]
    if name == "validator.weights.probe":
        allowed.append("validator.language_model")
    if name == "validator.weights.returned":
        allowed += [
            "validator.edges.miners",
            "validator.edges.openai_server",
            "validator.files",
            "validator.model_work",
        ]
    assert strangers(name, *allowed) == set()


@pytest.mark.parametrize("name", modules_under("validator.coverage"))
def test_coverage_is_judged_without_a_secret_and_mostly_without_a_model(name):
    """An auditor recomputes it from ranks; only what scores and calibrates knows a model."""
    allowed = ["validator.coverage", "validator.files", "validator.protocol.commitment", *FOUNDATION]
    if name in ("validator.coverage.likelihood", "validator.coverage.calibration"):
        models = ("validator.language_model", "validator.training")
        allowed += [*models, "validator.marks.coverage", "validator.plan.spec"]
    assert strangers(name, *allowed) == set()


ATTACKERS_OWN_DRAWS = ("validator.stealth.imitation", "validator.stealth.generator_ranks")


@pytest.mark.parametrize("name", modules_under("validator.stealth"))
def test_detectors_know_what_a_miner_knows(name):
    """The schemes and the rows; no secret but one that a detector draws marks of its own with, no journal, no chain."""
    allowed = ["validator.stealth", "validator.protocol", "validator.marks", *FOUNDATION]
    if name == "validator.stealth.local_model":
        allowed += ["validator.language_model", "validator.training"]
    if name == "validator.stealth.judge":
        allowed += ["validator.edges.http", "validator.config"]
    assert strangers(name, *allowed) == set()
    assert "validator.marks.secrets" not in ours(name) or name in ATTACKERS_OWN_DRAWS


@pytest.mark.parametrize("name", ["validator.settings", "validator.settings_file"])
def test_settings_are_read_without_anything_that_they_are_for(name):
    assert strangers(name, "validator.settings", "validator.config", *FOUNDATION) == set()
    assert foreign(name) <= {"eth_utils", "pydantic", "pydantic_core", "pydantic_settings"}


MAY_USE = {
    "validator.edges.chain": {"validator.edges.keys", "validator.edges.nodes", "validator.edges.rpc_node"},
    "validator.edges.contract": {"validator.edges.chain", "validator.edges.refusals"},
    "validator.edges.key_files": {"validator.edges.keys"},
    "validator.edges.remote_signer": {"validator.edges.keys"},
    "validator.edges.http": {
        f"validator.edges.{part}" for part in ("connections", "exchanges", "miner_url", "tls_pin")
    },
    "validator.edges.miners": {"validator.edges.http", "validator.edges.keys"},
    "validator.edges.openai_server": {"validator.edges.http"},
    "validator.edges.openai_chat": {"validator.edges.http"},
    "validator.edges.model_server": {"validator.edges.openai_chat"},
    "validator.edges.openings": {"validator.edges.openai_chat"},
    "validator.edges.nodes": {"validator.edges.rpc_node"},
    "validator.edges.nonce_journal": {"validator.edges.chain"},
    "validator.edges.transactions": {
        "validator.edges.broadcast_errors",
        "validator.edges.chain",
        "validator.edges.deadline_alarms",
        "validator.edges.keys",
        "validator.edges.nonce_journal",
        "validator.edges.refusals",
    },
}


@pytest.mark.parametrize("name", modules_under("validator.edges"))
def test_edges_do_not_know_each_other(name):
    """One foreign system for each file; only chain, http, keys and the parts of one edge are there for others."""
    edges = {imported for imported in ours(name) if is_under(imported, "validator.edges")}
    assert edges <= MAY_USE.get(name, set())
    allowed = ["validator.edges", "validator.protocol", "validator.config", *FOUNDATION]
    if name == "validator.edges.contract":
        allowed.append("contracts")
    if name in {f"validator.edges.{edge}" for edge in ("transactions", "deadline_alarms", "nodes", "rpc_node")}:
        allowed.append("validator.telemetry")
    if name in ("validator.edges.http", "validator.edges.miners"):
        allowed.append("validator.files")
    if name == "validator.edges.generator":
        allowed.append("validator.language_model")
    if name == "validator.edges.openings":
        allowed.append("validator.marks.openings")
    assert strangers(name, *allowed) == set()


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("web3", {"validator.edges.devnet", "validator.edges.rpc_node"}),
        ("eth_tester", {"validator.edges.devnet"}),
        (
            "sqlalchemy",
            {
                *modules_under("validator.journal"),
                *("validator.sqlite_file", "validator.audit.store", "validator.tournament.store"),
            },
        ),
        ("pg8000", set()),
        ("sqlite3", set()),
        ("eth_account", {"validator.edges.keys", "validator.edges.key_files"}),
        ("requests", set()),
        ("httpx", set()),
        ("openai", set()),
        ("pickle", set()),
        ("ray", {"validator.model_work"}),
        ("jinja2", {"validator.html"}),
        ("peft", {"validator.weights.probe", "miner_sim.inference", "validator.training"}),
    ],
)
def test_a_foreign_system_has_one_door(library, only):
    assert importers(library) <= only


def test_only_http_uses_aiohttps_client():
    """To miners; nodes, signers, daemons, providers and bundles have other clients. Servers use `aiohttp.web`."""
    own = {
        "validator.control.client",
        *(f"validator.edges.{edge}" for edge in ("bundles", "node_clock", "openai_chat", "remote_signer", "rpc_node")),
    }
    harmless = {"web", "AbstractStreamWriter", "BodyPartReader", "HttpProcessingError"}
    for name in importers("aiohttp") - own - {"validator.edges.http", "validator.edges.connections"}:
        for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(is_under(alias.name, "aiohttp") for alias in node.names), name
            elif isinstance(node, ast.ImportFrom) and is_under(node.module or "", "aiohttp"):
                assert {alias.name for alias in node.names} <= harmless, name


MINERS_OWN_MACHINE = [
    f"validator.miner.{module}"
    for module in (
        "check",
        "cli",
        "command",
        "daemon",
        "hook_backend",
        "init",
        "serving",
        "settings",
        "telemetry",
        "training",
        "unstake",
    )
]
"""What `touchstone miner run` has beyond a simulated miner: configuration, health, its own trainer and model server."""


@pytest.mark.parametrize("name", modules_under("validator.miner"))
def test_a_miner_knows_no_validator_from_within(name):
    """The protocol, the chain and its own keys; no marks, no plan, no journal."""
    edges = [f"validator.edges.{edge}" for edge in ("chain", "contract", "keys")]
    shared = [f"validator.{module}" for module in ("door", "files", "json_lines")]
    allowed = ["validator.miner", "validator.protocol", *shared, *edges, *FOUNDATION]
    if name in MINERS_OWN_MACHINE:
        people = ("amounts", "config", "health", "logs", "settings", "settings_file", "telemetry", "terminal", "web")
        allowed += [f"validator.{module}" for module in people]
        allowed += ["validator.edges.key_files", "validator.edges.model_server"]
        allowed += [f"validator.operator.{module}" for module in ("check", "init", "wallet")]
        allowed += ["validator.weights.header", "validator.weights.lora"]
    else:
        assert not ours(name) & set(MINERS_OWN_MACHINE)
    assert strangers(name, *allowed) == set()


@pytest.mark.parametrize("name", modules_under("miner_sim"))
def test_miners_share_only_what_holds_no_secret_of_a_validator(name):
    edges = [f"validator.edges.{edge}" for edge in ("chain", "contract", "keys")]
    shared = tuple(
        f"validator.{name}"
        for name in ("child_processes", "door", "files", "language_model", "miner", "training", "stealth")
    )
    allowed = ["miner_sim", "validator.protocol", *shared, *edges, *FOUNDATION]
    if name == "miner_sim.detection":  # a thief has the program, and so what marks are drawn with, but for the draws
        allowed += ["validator.marks.schemes", "validator.marks.sampler", "validator.edges.generator"]
    assert strangers(name, *allowed) == set()
    assert not ours(name) & set(MINERS_OWN_MACHINE)


@pytest.mark.parametrize("name", modules_under("validator"))
def test_the_product_reaches_miner_sim_lazily_and_from_the_simulation_alone(name):
    if any(is_under(imported, "miner_sim") for imported in ours(name)):
        assert is_under(name, "validator.simulation")
        top = [node for node in ast.parse(MODULES[name].read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
        assert not any(is_under(node.module or "", "miner_sim") for node in top)


@pytest.mark.parametrize("name", modules_under("validator.customer"))
def test_customers_meet_a_validator_at_its_socket_alone(name):
    """What needs the journal, the data or the master seed is asked of the daemon."""
    kept = (
        "validator.journal",
        "validator.requests.dataset_store",
        "validator.requests.desk",
        "validator.marks.secrets",
    )
    assert {imported for imported in ours(name) if is_under(imported, *kept)} == set()


def test_the_command_line_starts_light():
    """Every command loads what it needs, and none waits for what another needs."""
    program = "import sys, validator.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "validator.cli" in loaded
    assert not {"torch", "web3", "aiohttp", "sqlalchemy", "scipy", "eth_account", "pydantic"} & set(loaded)


LAYERS = [
    ("validator.types", "validator.errors"),
    ("validator.protocol",),
    (
        "validator.config",
        "validator.settings",
        "validator.settings_file",
        "validator.marks",
        "validator.plan",
        "validator.language_model",
        "validator.training",
        "validator.child_processes",
        "validator.files",
        "validator.html",
        "validator.json_lines",
        "validator.sealed_files",
        "validator.requests.planting_file",
        "validator.amounts",
        "validator.terminal",
        "validator.door",
        "contracts",
    ),
    ("validator.journal", "validator.telemetry", "validator.edges"),
    ("validator.model_work", "validator.coverage"),
    ("validator.weights", "validator.stealth"),
    (
        "validator.requests.dataset_store",
        "validator.requests.orders",
        "validator.requests.quotes",
        "validator.requests.status",
        "validator.requests.retention",
    ),
    ("validator.requests.desk",),
    ("validator.control",),
    ("validator.customer",),
    (
        "validator.evidence",
        "validator.logs",
        "validator.health.progress",
        "validator.health.loop_lag",
        "validator.health.service",
    ),
    ("validator.web", "validator.audit"),
    ("validator.driver",),
    ("validator.miner_directory", "validator.lost_events", "validator.history"),
    ("validator.executor", "validator.watcher"),
    tuple(f"validator.operator.{part}" for part in ("check", "costs", "directory", "init", "wallet")),
    ("validator.miner",),
    ("validator.app",),
    ("validator.daemon",),
    ("validator.simulation", "validator.deployment", "validator.design", "validator.verification"),
    ("validator.operator", "validator.tournament"),
    ("validator.cli",),
]
"""Bottom first. `validator.base_model` stands beside them: text and training of the shipped model."""


def layer(name: str) -> int | None:
    return next((i for i, roots in enumerate(LAYERS) if is_under(name, *roots)), None)


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) is not None])
def test_imports_point_downwards(name):
    for imported in ours(name) - {name}:
        below = layer(imported)
        assert below is None or below <= layer(name), f"{name} imports {imported}"


def test_the_only_caller_of_step_is_the_driver_and_replay():
    """Architecture: nobody else may make a state."""
    callers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "step"
    }
    assert callers == {"validator.driver", "validator.journal.journal"}


def test_torch_is_loaded_only_where_a_model_runs():
    """A validator with a generator by URL, and an auditor, install none of it."""
    allowed = {
        f"validator.{name}"
        for name in (
            *("edges.generator", "language_model", "training", "base_model.pretrain", "weights.probe"),
            "stealth.local_model",
            "coverage.likelihood",
            "verification.local_model",
        )
    }
    models = importers("torch") | importers("transformers") | importers("safetensors") | importers("tokenizers")
    assert {name for name in models if not is_under(name, "miner_sim")} <= allowed


def test_no_module_catches_every_exception_and_goes_on():
    """Habit 8."""
    for name, path in MODULES.items():
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.ExceptHandler):
                caught = (
                    {child.id for child in ast.walk(node.type) if isinstance(child, ast.Name)} if node.type else {""}
                )
                if caught & {"", "Exception", "BaseException"}:
                    assert "boundary:" in lines[node.lineno - 1], f"{name}:{node.lineno}"
