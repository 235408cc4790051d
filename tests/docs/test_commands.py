"""Every command of the pages is run by a test, or is on a short list of those that need another machine.

What is not typed as it stands (`test_sessions.py`) names the test that runs it, which must use every option of it; and
every `touchstone ...`, wherever it stands, is read by the real command line.
"""

import ast
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tests.docs.pages import PAGES, ROOT, SHELL, Command, commands, tokens
from tests.docs.test_sessions import TYPED
from validator.cli import app
from validator.marks.rules import AlterationRules

SCRIPT = ROOT / "docs" / "audit-by-hand.md"
"""One script from top to bottom, which tests/audit/test_by_hand.py runs as it is printed."""
TRANSCRIPT = ROOT / "docs" / "ten-minutes.md"
"""The quickstart as somebody typed it."""

TASK, CONTRACT, SETUP = (f"tests/e2e/test_{name}_command.py" for name in ("task", "contract", "validator"))
VERIFY, AUDIT = "tests/e2e/test_verify_only.py", "tests/audit/test_command.py"
RUN_BY = {
    "make demo": ["tests/e2e/test_soak.py::test_the_default_round_ends_as_it_must"],
    "touchstone miner init": ["tests/miner/test_command.py"],
    "touchstone miner check": ["tests/miner/test_command.py"],
    "touchstone miner run": ["tests/miner/test_run.py::test_a_round_from_registration_to_pay", "tests/miner/place.py"],
    "touchstone miner unstake": ["tests/miner/test_unstake.py"],
    "touchstone validator init": [f"{SETUP}::test_from_nothing_to_a_validator_that_can_start"],
    "touchstone validator check": [f"{SETUP}::test_from_nothing_to_a_validator_that_can_start"],
    "touchstone validator deposit": [f"{SETUP}::test_from_nothing_to_a_validator_that_can_start"],
    "touchstone validator run": [
        "tests/daemon/test_stop.py::test_it_ends_in_time_with_tasks_in_flight_and_goes_on_with_them_afterwards"
    ],
    "touchstone validator status": [f"{TASK}::test_an_operator_sees_status_and_story_with_and_without_the_daemon"],
    "touchstone task fetch": [f"{TASK}::test_the_paid_model_is_fetched_whole_and_as_it_stands_on_chain"],
    "touchstone contract deploy": [
        f"{CONTRACT}::test_deploy_verify_params_as_the_readme_has_them",
        f"{CONTRACT}::test_a_parameter_file_and_a_guardian_make_another_network",
        f"{CONTRACT}::test_another_chain_than_the_one_that_was_meant_is_refused",
    ],
    "touchstone contract verify": [f"{CONTRACT}::test_deploy_verify_params_as_the_readme_has_them"],
    "touchstone contract params": [f"{CONTRACT}::test_deploy_verify_params_as_the_readme_has_them"],
    "touchstone plant": [f"{VERIFY}::plant", f"{VERIFY}::work"],
    "touchstone verify": [
        f"{VERIFY}::verify",
        f"{VERIFY}::test_a_trained_model_passes_with_its_base_measured_decoys_and_advice",
        f"{VERIFY}::test_returned_weights_pass_by_their_coverage_and_the_base_models_do_not",
    ],
    "touchstone bundle verify": [
        f"{AUDIT}::test_a_bundle_alone_is_verified",
        f"{AUDIT}::test_what_is_no_bundle_is_bad_input",
    ],
    "touchstone simulate": [
        "tests/e2e/command.py::simulate",
        "tests/e2e/test_soak.py::test_an_honest_miner_is_never_slashed",
    ],
    "touchstone tournament run": [
        "tests/e2e/test_tournament.py::Running",
        "tests/e2e/test_tournament.py::test_500_rounds_that_are_stopped_ten_times",
    ],
    "python tools/site/settings_page.py": ["tests/docs/test_settings.py::test_the_page_says_what_the_code_says"],
    "python -m benchmarks --page": ["tests/unit/test_science.py"],
    "python -m tests.contracts.attacks": ["tests/contracts/test_attacks.py"],
    "python deploy/grafana/make_dashboards.py": ["tests/deploy/test_grafana.py"],
    "make site": ["tests/docs/test_site.py::site"],
}
"""By how a command begins: who runs it, with every option that the pages give it."""

NEEDS = {
    "docker compose": "a container engine; tests/deploy/local_network.py runs what it would run",
    "kubectl": "a cluster; tests/deploy/test_kubernetes.py holds the manifests to its schema",
    "systemd-sysusers": "root; tests/deploy/test_systemd.py reads the same file",
    "systemd-run": "root and systemd; tests/deploy/test_systemd.py verifies the unit",
    "systemctl": "root and systemd",
    "journalctl": "systemd",
    "cp deploy/systemd/": "root",
    "VLLM_": "vLLM, and a GPU",
    "python3 -m venv /opt/touchstone": "root; tests/test_installed.py does the same elsewhere",
    "/opt/touchstone/bin/pip install": "root; tests/test_installed.py does the same elsewhere",
    "/opt/touchstone/bin/touchstone": "root; the same command is typed elsewhere",
    "$EDITOR": "a person",
    "cd touchstone": "nothing: tests begin there",
    "export OPENAI_API_KEY=": "an account at OpenAI; tests/e2e/test_verify_only.py has a provider of its own",
    "make": "itself: .ci/run calls lint, types, site and test; the rest is looked up in the Makefile",
}
"""Why what begins so is run by no test as it stands; the first that fits."""

EVERY = [
    command for page in PAGES if page not in (SCRIPT, TRANSCRIPT) for command in commands(str(page.relative_to(ROOT)))
]
REST = sorted(command for command in EVERY if command.text not in {typed.text for typed in TYPED})


def find(table: dict[str, Any], text: str) -> str | None:
    return next((begin for begin in table if text.startswith(begin)), None)


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<=\s)--[a-z][a-z-]*", text))


@pytest.mark.parametrize("command", REST, ids=str)
def test_a_command_that_no_session_types_is_run_elsewhere_or_says_why_not(command: Command) -> None:
    if (begin := find(RUN_BY, command.text)) is None:
        assert find(NEEDS, command.text) is not None, f"no test runs {command}: put it into a session or a list"
        return
    runs = "\n".join(source_of(place) for place in RUN_BY[begin])
    for word in [*begin.split()[1:], *options(command.text)] if begin.startswith("touchstone") else ():
        assert re.search(rf"['\"]{re.escape(word)}['\"]", runs), f"{RUN_BY[begin]} never says {word}"


def source_of(place: str) -> str:
    """The text of a test file and, where one is named, proof that it has this function or class."""
    file, _, name = place.partition("::")
    text = (ROOT / file).read_text()
    defined = {
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert not name or name in defined, f"there is no {place}"
    return text


def test_no_list_has_what_no_page_has() -> None:
    texts = [command.text for command in REST]
    for table in (RUN_BY, NEEDS):
        assert set(table) == {find(table, text) for text in texts if table is RUN_BY or find(RUN_BY, text) is None} - {
            None
        }
    assert set(TYPED) <= set(EVERY)


CALL = re.compile(r"(?:^|/bin/|exec validator )touchstone (.*)")
TOUCHSTONE = sorted({command for command in EVERY if CALL.search(command.text)})


@pytest.mark.parametrize("command", TOUCHSTONE, ids=str)
def test_the_command_line_takes_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_CONFIG", "validator.toml")  # As the pages have readers do.
    call = CALL.search(command.text)
    assert call is not None
    parse(shlex.split(call[1].replace("'", "")))


def parse(words: list[str]) -> None:
    """Fails for a command or option that there is not, and for a value of another kind."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands"):
        context = command.make_context(words[0], [], parent=context, resilient_parsing=True)
        assert words[0] in command.commands, f"there is no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("words", ["plan --rows ten", "plan --row 10", "task sumbit rows.jsonl", "validator deposit"])
def test_what_it_does_not_take_is_noticed(words: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        parse(shlex.split(words))


def test_commands_stand_in_blocks_that_say_so() -> None:
    """Or nobody would look at them here."""
    for page in PAGES:
        for token in tokens(page):
            if token.type in ("fence", "code_block") and token.info.strip() not in SHELL:
                assert not re.search(r"^(\$ |touchstone |make |docker |pip )", token.content, re.MULTILINE), page


def test_make_has_every_target_that_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {target for page in PAGES for target in re.findall(r"[`\n]make ((?:[a-z]+ ?)+)[`\n]", page.read_text())}
    for target in {word for targets in named for word in targets.split()}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no make {target}"


def test_the_rules_of_the_customers_guide_are_rules() -> None:
    (text,) = re.findall(r"```json\n(.*)\n```", (ROOT / "docs" / "customer.md").read_text())
    assert AlterationRules.from_json(text.encode()).openings


def test_installing_names_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        for named in re.findall(r"(?:touchstone-validator|`\.|\. ?)\[([a-z,]+)\]", page.read_text()):
            assert set(named.split(",")) <= set(extras), f"{page} names [{named}]"


def test_other_files_and_modules_that_are_named_are_there() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:validator|miner_sim|contracts|tests|benchmarks|deploy|tools|docs)/[\w./-]+)`", page.read_text()
        ):
            assert Path(ROOT / name).exists(), f"{page.name} names {name}"
