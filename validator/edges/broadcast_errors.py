"""What a node's words about a transaction mean: the class that decides what is done next.

Rule kept: a pattern begins where the words do, and ends where a word does, so that "unknown transaction" is never
"known transaction" (R9); words that are not here mean nothing at all, and the transaction may be on its way (R8).
"""

import re
from enum import StrEnum


class Answer(StrEnum):
    """To signed bytes. Whichever it is, the nonce stays with its effect."""

    ALREADY_KNOWN = "already known"  # As good as taken.
    NONCE_TOO_LOW = "nonce too low"  # Mined, if one of our hashes has a receipt.
    NONCE_TOO_HIGH = "nonce too high"  # One before it has not arrived.
    UNDERPRICED = "underpriced"  # More must be offered.
    INSUFFICIENT_FUNDS = "insufficient funds"  # The account needs ether; more fees would make it worse.
    FEE_CAP = "fee cap"  # The node's own limit; more fees would make it worse.
    REVERTED = "reverted"  # A sequencer has tried it first.
    UNKNOWN = "unknown"


_WORDS = {
    Answer.ALREADY_KNOWN: (
        "already known",  # geth, erigon, reth
        "block already known",  # erigon
        "existing tx with same hash",  # erigon
        "alreadyknown",  # nethermind
        "known transaction",  # besu, geth before 1.9.21
        "transaction already imported",  # anvil
        "transaction with the same hash was already imported",  # openethereum
        "tx already in mempool",
    ),
    Answer.NONCE_TOO_LOW: (
        "nonce too low",  # geth, erigon, reth, besu, anvil, Arbitrum
        "oldnonce",  # nethermind
        "ownnoncealreadyused",  # nethermind: with this nonce, not with these bytes
        "transaction nonce is too low",  # openethereum
    ),
    Answer.NONCE_TOO_HIGH: (
        "nonce too high",  # geth, erigon, Arbitrum
        "noncegap",  # nethermind
        "noncetoofarinfuture",  # nethermind
        "transaction nonce is too distant from current sender nonce",  # besu
    ),
    Answer.UNDERPRICED: (
        "replacement transaction underpriced",  # geth, erigon, reth, besu, anvil
        "transaction underpriced",  # geth, erigon, reth
        "underpriced",  # erigon
        "fee too low",  # erigon
        "feetoolow",  # nethermind
        "feetoolowtocompete",  # nethermind
        "replacementnotallowed",  # nethermind
        "gas price below configured minimum gas price",  # besu
        "max fee per gas less than block base fee",  # geth, reth, anvil, Arbitrum
        "gas price too low",  # Arbitrum
    ),
    Answer.INSUFFICIENT_FUNDS: (
        r"insufficient funds for gas \* price \+ value",  # geth, reth, anvil, Arbitrum, OP
        "insufficient funds for transfer",  # geth
        "insufficient funds",  # erigon
        "insufficientfunds",  # nethermind
        "insufficient balance for transfer",  # geth
        "transaction would cause overdraft",  # geth
        "upfront cost exceeds account balance",  # besu
        "transaction up-front cost .* exceeds transaction sender account balance",  # besu
        "not enough funds for gas",  # Arbitrum
    ),
    Answer.FEE_CAP: (
        r"tx fee \([0-9.]+ \w+\) exceeds the configured cap",  # geth, erigon, reth
        "transaction fee cap exceeded",  # besu
    ),
    Answer.REVERTED: ("execution reverted", "vm exception while processing transaction"),
}

_WRAPPERS = (
    "call failed: ",  # nethermind
    "internal_error: ",  # erigon
    "already_exists: ",  # erigon
    "transaction rejected: ",  # Arbitrum
    "invalid transaction: ",  # OP
    "failed to forward tx to sequencer, please try again. error message: '",  # OP
    "rpc error: code = unknown desc = ",  # a node behind gRPC
)

_PREFIX = "(?:" + "|".join(re.escape(wrapper) for wrapper in _WRAPPERS) + ")*"
_PATTERNS = {answer: re.compile(rf"{_PREFIX}(?:{'|'.join(patterns)})(?![\w-])") for answer, patterns in _WORDS.items()}


def classify(message: str) -> Answer:
    """The class of a node's error message to `eth_sendRawTransaction`."""
    words = message.strip().lower()
    return next((answer for answer, pattern in _PATTERNS.items() if pattern.match(words)), Answer.UNKNOWN)
