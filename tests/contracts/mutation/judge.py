"""Runs the contract's tests against mutants: each in a process of its own, up to the first test that fails.

Rule kept: a mutant is killed by what the contract does, never by what it is; so only tests of behaviour judge.
"""

import contextlib
import gc
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import pytest

import contracts
from tests.contracts.mutation.compiler import compile_mutant
from tests.contracts.mutation.operators import Mutant

TESTS = Path(__file__).parents[1]
JUDGES = (
    "outcomes",
    "contract_accounts",
    "deposit",
    "withdraw",
    "settle",
    "open_task",
    "open_task_with_offer",
    "accept",
    "submit",
    "challenge",
    "answer",
    "judge",
    "dispute",
    "poke",
    "register",
    "rotate_evidence_key",
    "stake",
    "request_unstake",
    "unstake",
    "cancel_order",
    "sunset",
    "terms",
)
"""The files `test_<name>.py` that judge, in this order: all but those that look at the artefact, or weigh it."""
SUBJECTS = {"_open": "open_task", "_settle": "settle", "_check_terms": "terms", "_check_duration": "terms"}
"""The file that judges an internal function first; for an external one it is the file of its name."""

CONTEXT = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome`: killed, survived, same (the original's bytecode) or invalid (the compiler refuses it)."""

    name: str
    outcome: str
    killer: str = ""


def judge(chosen: Sequence[Mutant], jobs: int, report: Callable[[Verdict], None]) -> None:
    """Judge the mutants in `jobs` processes; `report` gets the verdicts as they come.

    Raises ValueError if the original itself fails a test.
    """
    bench = _Bench(chosen, jobs, report)
    options = ["-s", "-p", "no:cacheprovider", "--tb=no"]
    with Path(os.devnull).open("w") as devnull, contextlib.redirect_stdout(devnull):
        code = pytest.main([*options, *(str(TESTS / f"test_{name}.py") for name in JUDGES)], plugins=[bench])
    if bench.failed:
        raise ValueError(f"the original fails {bench.failed}: mend that first")
    if code != pytest.ExitCode.OK:
        raise RuntimeError(f"the tests did not run: pytest ended with {code!r}")


class _Bench:
    """Pytest plugin: collects the tests once, runs them for the original, then in a fork of itself for each mutant."""

    def __init__(self, chosen: Sequence[Mutant], jobs: int, report: Callable[[Verdict], None]) -> None:
        self._chosen = chosen
        self._jobs = jobs
        self._report = report
        self._items: list[pytest.Item] = []
        self.failed = ""
        """The first test that failed in this process."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid.rpartition("/")[2]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._items = session.items
        self._run_tests(JUDGES[0])
        if not self.failed:
            original = compile_mutant(contracts.SOURCE_PATH.read_text(encoding="utf-8"))
            gc.freeze()
            for verdict in self._verdicts(original):
                self._report(verdict)
        return True

    def _run_tests(self, subject: str) -> None:
        """Against the artefact at `contracts.ARTIFACT_PATH`, until one fails."""
        for item in sorted(self._items, key=lambda item: item.path.stem != f"test_{subject}"):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if self.failed:
                return

    def _verdicts(self, original: str | None) -> Iterator[Verdict]:
        waiting = list(reversed(self._chosen))
        running: dict[Connection, Mutant] = {}
        while waiting or running:
            while waiting and len(running) < self._jobs:
                mutant = waiting.pop()
                receiver, sender = CONTEXT.Pipe(duplex=False)
                CONTEXT.Process(target=self._judge, args=(mutant, original, sender), daemon=True).start()
                sender.close()
                running[receiver] = mutant
            for receiver in wait(list(running)):
                mutant = running.pop(receiver)
                outcome, killer = receiver.recv()
                yield Verdict(mutant.name, outcome, killer)

    def _judge(self, mutant: Mutant, original: str | None, sender: Connection) -> None:
        bytecode = compile_mutant(mutant.source)
        if bytecode is None or bytecode == original:
            sender.send(("same" if bytecode else "invalid", ""))
            return
        artifact = json.loads(contracts.ARTIFACT_PATH.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as directory:
            contracts.ARTIFACT_PATH = Path(directory) / "Touchstone.json"
            contracts.ARTIFACT_PATH.write_text(json.dumps(artifact | {"bytecode": bytecode}), encoding="utf-8")
            self._run_tests(SUBJECTS.get(mutant.function, mutant.function))
        sender.send(("killed" if self.failed else "survived", self.failed))
