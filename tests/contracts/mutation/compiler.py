"""Vyper at twice its speed: hundreds of mutants are compiled, and half of each compilation is work done before.

Rule kept: bytecode is the same, byte for byte (a test compares). A private name of Vyper is patched, which is pinned.
"""

import gc
from typing import Any

from vyper.compiler import compile_code
from vyper.exceptions import VyperException, VyperInternalException
from vyper.ir import optimizer

_optimize = optimizer._optimize


def _optimize_once(node: Any, parent: Any) -> Any:
    """What the optimiser makes of a node under this kind of parent: it asks again for every expression around it."""
    kind = None if parent is None else str(parent.value)
    memo = node.__dict__.setdefault("_memo", {})
    if kind not in memo:
        memo[kind] = _optimize(node, parent)
    return memo[kind]


def compile_mutant(source: str) -> str | None:
    """The initcode in hex, without the compiler's footer; None for what the compiler refuses."""
    optimizer._optimize = _optimize_once
    gc.disable()
    try:
        return str(compile_code(source, output_formats=["bytecode"], no_bytecode_metadata=True)["bytecode"])[2:]
    except (VyperException, VyperInternalException, ArithmeticError, ValueError):  # the last two in folding 0 ** n
        return None
    finally:
        gc.enable()
        optimizer._optimize = _optimize
