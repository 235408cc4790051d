"""Compiles `Touchstone.vy` into the artefact that is shipped: `python -m contracts.compile [--check]`.

Rule kept: the same source and compiler give the same file, byte for byte; settings are the pragmas in the source.
The only module here that needs the compiler (extra `contracts`).
"""

import argparse
import hashlib
import json
import sys
from functools import cache

import vyper
from vyper.compiler import compile_code

from contracts import ARTIFACT_PATH, SOURCE_PATH


@cache
def compile_artifact() -> str:
    """The artefact's text, from the source as it was at the first call: compiling takes seconds."""
    source = SOURCE_PATH.read_text(encoding="utf-8")
    outputs = compile_code(source, output_formats=["abi", "bytecode", "bytecode_runtime"])
    artifact = {
        "abi": outputs["abi"],
        "bytecode": outputs["bytecode"].removeprefix("0x"),
        "runtime_bytecode": outputs["bytecode_runtime"].removeprefix("0x"),
        "compiler": f"vyper {vyper.__long_version__}",
        "settings": [line.removeprefix("# pragma ") for line in source.splitlines() if line.startswith("# pragma ")],
        "source_sha256": hashlib.sha256(source.encode()).hexdigest(),
    }
    return json.dumps(artifact, indent=1) + "\n"


def main(argv: list[str]) -> int:
    """Exit status 0, or 1 if `--check` finds the shipped artefact out of date."""
    parser = argparse.ArgumentParser(prog="python -m contracts.compile", description="Compile the contract.")
    parser.add_argument("--check", action="store_true", help="only compare with the artefact that is there")
    is_check = parser.parse_args(argv).check
    text = compile_artifact()
    if not is_check:
        ARTIFACT_PATH.write_text(text, encoding="utf-8")
        return 0
    if ARTIFACT_PATH.exists() and ARTIFACT_PATH.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{ARTIFACT_PATH} is not what {SOURCE_PATH} compiles to: run python -m contracts.compile\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
