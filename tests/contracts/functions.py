"""Every function of the contract, for what must hold of each: read from the ABI, so a new one is not forgotten."""

from eth_utils.abi import filter_abi_by_type, function_abi_to_4byte_selector

from contracts import load_artifact

FUNCTIONS = {entry["name"]: entry for entry in filter_abi_by_type("function", load_artifact().abi)}
NOT_PAYABLE = [name for name, entry in FUNCTIONS.items() if entry["stateMutability"] != "payable"]
EMPTY_WORDS = 128


def selector(name: str) -> bytes:
    return function_abi_to_4byte_selector(FUNCTIONS[name])


def empty_call(name: str) -> bytes:
    """Calldata that any function decodes: every word zero, and so every array empty."""
    return selector(name) + bytes(32 * EMPTY_WORDS)
