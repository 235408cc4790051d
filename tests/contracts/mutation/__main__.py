"""Judges mutants of the contract: `python -m tests.contracts.mutation --help`."""

import argparse
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict

from contracts import SOURCE_PATH
from tests.contracts.mutation.judge import Verdict, judge
from tests.contracts.mutation.operators import mutants

PROGRESS_EVERY = 25


def main(argv: list[str]) -> int:
    """One JSON object per verdict to stdout, progress to stderr; exit status 1 if the original fails its tests."""
    parser = argparse.ArgumentParser(prog="python -m tests.contracts.mutation", description="Judge the mutants.")
    parser.add_argument("names", nargs="*", help="only these mutants; by default all")
    parser.add_argument("--sample", type=int, help="only so many, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(argv)

    chosen = mutants(SOURCE_PATH.read_text(encoding="utf-8"))
    if options.names:
        chosen = [mutant for mutant in chosen if mutant.name in options.names]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, options.sample)
    stdout, start_s = sys.stdout, time.monotonic()
    outcomes: Counter[str] = Counter()

    def report(verdict: Verdict) -> None:
        stdout.write(json.dumps(asdict(verdict)) + "\n")
        stdout.flush()
        outcomes[verdict.outcome] += 1
        if outcomes.total() % PROGRESS_EVERY == 0 or outcomes.total() == len(chosen):
            counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
            elapsed_s = time.monotonic() - start_s
            sys.stderr.write(f"{outcomes.total()}/{len(chosen)} mutants in {elapsed_s:,.0f} s: {counts}\n")

    try:
        judge(chosen, options.jobs, report)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
