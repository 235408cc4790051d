"""Words of real clients, as their sources and logs have them, and what each means."""

import pytest

from validator.edges.broadcast_errors import Answer, classify

TABLE = [
    ("geth", "already known", Answer.ALREADY_KNOWN),
    ("geth before 1.9.21", "known transaction: 7f657507aee0511e36d2d1972a6b22e917cc89f92b6c12c4", Answer.ALREADY_KNOWN),
    ("geth, light", "Known transaction (7f65)", Answer.ALREADY_KNOWN),
    ("erigon", "ALREADY_EXISTS: already known", Answer.ALREADY_KNOWN),
    ("erigon", "block already known", Answer.ALREADY_KNOWN),
    ("erigon", "INTERNAL_ERROR: existing tx with same hash", Answer.ALREADY_KNOWN),
    ("nethermind", "AlreadyKnown", Answer.ALREADY_KNOWN),
    ("nethermind", "call failed: AlreadyKnown", Answer.ALREADY_KNOWN),
    ("besu", "Known transaction", Answer.ALREADY_KNOWN),
    ("anvil", "transaction already imported", Answer.ALREADY_KNOWN),
    ("openethereum", "Transaction with the same hash was already imported.", Answer.ALREADY_KNOWN),
    (
        "OP",
        "failed to forward tx to sequencer, please try again. Error message: 'already known'",
        Answer.ALREADY_KNOWN,
    ),
    ("geth", "nonce too low", Answer.NONCE_TOO_LOW),
    ("geth, reth", "nonce too low: next nonce 5, tx nonce 4", Answer.NONCE_TOO_LOW),
    ("besu", "Nonce too low", Answer.NONCE_TOO_LOW),
    ("Arbitrum", "nonce too low: address 0x336394A3, tx: 8089 state: 8090", Answer.NONCE_TOO_LOW),
    ("Arbitrum", "transaction rejected: nonce too low", Answer.NONCE_TOO_LOW),
    ("OP", "invalid transaction: nonce too low", Answer.NONCE_TOO_LOW),
    ("nethermind", "OldNonce, Current nonce: 22, nonce of rejected tx: 17", Answer.NONCE_TOO_LOW),
    ("nethermind", "call failed: OwnNonceAlreadyUsed", Answer.NONCE_TOO_LOW),
    ("geth", "nonce too high", Answer.NONCE_TOO_HIGH),
    ("Arbitrum", "nonce too high: address 0x336394A3, tx: 8089 state: 8080", Answer.NONCE_TOO_HIGH),
    ("nethermind", "call failed: NonceGap, Future nonce. Expected nonce: 10", Answer.NONCE_TOO_HIGH),
    ("besu", "Transaction nonce is too distant from current sender nonce", Answer.NONCE_TOO_HIGH),
    ("geth", "replacement transaction underpriced", Answer.UNDERPRICED),
    ("geth", "transaction underpriced: tip needed 1000000, tip permitted 1", Answer.UNDERPRICED),
    ("besu", "Replacement transaction underpriced", Answer.UNDERPRICED),
    ("besu", "Gas price below configured minimum gas price", Answer.UNDERPRICED),
    ("nethermind", "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 50, BaseFee: 100", Answer.UNDERPRICED),
    ("nethermind", "FeeTooLowToCompete", Answer.UNDERPRICED),
    ("nethermind", "ReplacementNotAllowed", Answer.UNDERPRICED),
    ("erigon", "INTERNAL_ERROR: fee too low", Answer.UNDERPRICED),
    ("anvil", "max fee per gas less than block base fee", Answer.UNDERPRICED),
    ("Arbitrum", "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 21", Answer.UNDERPRICED),
    ("Arbitrum", "gas price too low", Answer.UNDERPRICED),
    (
        "geth",
        "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
        Answer.INSUFFICIENT_FUNDS,
    ),
    ("anvil", "Insufficient funds for gas * price + value", Answer.INSUFFICIENT_FUNDS),
    ("geth", "transaction would cause overdraft", Answer.INSUFFICIENT_FUNDS),
    ("erigon", "INTERNAL_ERROR: insufficient funds", Answer.INSUFFICIENT_FUNDS),
    (
        "nethermind",
        "call failed: InsufficientFunds, Account balance: 47, cumulative cost: 22",
        Answer.INSUFFICIENT_FUNDS,
    ),
    ("besu", "Upfront cost exceeds account balance", Answer.INSUFFICIENT_FUNDS),
    ("Arbitrum", "not enough funds for gas", Answer.INSUFFICIENT_FUNDS),
    ("geth, reth", "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)", Answer.FEE_CAP),
    ("besu", "Transaction fee cap exceeded", Answer.FEE_CAP),
    ("geth, reth", "execution reverted", Answer.REVERTED),
    ("Arbitrum", "execution reverted: task: not in this state", Answer.REVERTED),
    ("geth", "txpool is full", Answer.UNKNOWN),
    ("nobody", "unknown transaction", Answer.UNKNOWN),
    ("nobody", "an unknown transaction that was already known", Answer.UNKNOWN),
    ("nobody", "not already known", Answer.UNKNOWN),
    ("nobody", "nonce too lowly", Answer.UNKNOWN),
    ("nobody", "nonce too low-level", Answer.UNKNOWN),
    ("nobody", "", Answer.UNKNOWN),
    ("nobody", "\N{SNOWMAN}" * 100_000, Answer.UNKNOWN),
]


@pytest.mark.parametrize(("client", "words", "answer"), TABLE)
def test_words_mean_what_their_client_means(client: str, words: str, answer: Answer) -> None:
    """R8, R9."""
    assert classify(words) is answer, client
    assert classify(f"  {words.upper()}\n") is answer, "whatever the case"
