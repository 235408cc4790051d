"""What stands at an address is the shipped contract, or is told from it by its first differing byte."""

import pytest

from contracts import load_artifact
from tests.edges.conftest import NO_FLOORS
from validator.deployment.verify import Verification, verify
from validator.edges.chain import Chain, Receipt, TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.keys import dev_mnemonic_signer
from validator.errors import Transient
from validator.types import Address, Hash32

NETWORK = NO_FLOORS._replace(min_dispute_seconds=7, guardian=dev_mnemonic_signer(4).address)
CREDIT_SLOTS = 64


def install(code: bytes, before: bytes = b"") -> bytes:
    """Init code that runs `before` and then leaves `code`: PUSH2 size, DUP1, PUSH2 offset, PUSH0, CODECOPY, ..."""
    size, offset = len(code).to_bytes(2, "big"), (len(before) + 11).to_bytes(2, "big")
    return before + b"\x61" + size + b"\x80\x61" + offset + b"\x5f\x39\x5f\xf3" + code


async def deployed(chain: Chain, data: bytes) -> tuple[Address, Receipt]:
    receipt = await TransactionSender(chain, dev_mnemonic_signer(5)).send(None, data)
    assert receipt.contract_address is not None
    return receipt.contract_address, receipt


async def verified(chain: Chain, address: Address, transaction: Hash32 | None = None) -> Verification:
    return await verify(chain, address, transaction=transaction, is_recompiling=False)


async def genuine_code(chain: Chain) -> bytes:
    contract = await Touchstone.deploy(TransactionSender(chain, dev_mnemonic_signer(5)), NETWORK)
    return await chain.code_at(contract.address)


async def test_the_contract_is_verified_and_its_network_read(chain: Chain) -> None:
    """O5."""
    sender = TransactionSender(chain, dev_mnemonic_signer(5))
    signed = await Touchstone.sign_deployment(sender, NETWORK)
    receipt = await Touchstone.resume(sender, signed.raw)
    assert receipt.contract_address is not None
    verification = await verified(chain, receipt.contract_address, receipt.tx_hash)
    assert verification.is_verified
    assert (verification.findings, verification.warnings) == ([], [])
    assert verification.immutables == (NETWORK, chain.chain_id)


async def test_an_account_without_code_is_no_contract(chain: Chain) -> None:
    """O1."""
    verification = await verified(chain, dev_mnemonic_signer(0).address)
    assert verification.findings == [f"there is no contract at {dev_mnemonic_signer(0).address}"]
    assert verification.immutables is None


async def test_another_contract_is_told_by_its_first_differing_byte(chain: Chain) -> None:
    address, _ = await deployed(chain, install(b"\0"))
    (finding,) = (await verified(chain, address)).findings
    assert finding.endswith("its code of 1 bytes is another, from byte 0 on")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (len(load_artifact().runtime_bytecode) - 1, f"from byte {len(load_artifact().runtime_bytecode) - 1} on"),
        (-320, "a duration that no deployment accepts"),
        (-64, "are not the immutables of a deployment"),
    ],
)
async def test_one_changed_byte_is_enough(embedded_chain: Chain, at: int, expected: str) -> None:
    code = bytearray(await genuine_code(embedded_chain))
    code[at] ^= 1
    address, _ = await deployed(embedded_chain, install(bytes(code)))
    (finding,) = (await verified(embedded_chain, address)).findings
    assert expected in finding


async def test_nothing_may_trail(embedded_chain: Chain) -> None:
    address, _ = await deployed(embedded_chain, install(await genuine_code(embedded_chain) + b"\0"))
    (finding,) = (await verified(embedded_chain, address)).findings
    assert "the 321 bytes after its code" in finding


async def test_a_contract_of_another_chain_is_a_warning(embedded_chain: Chain) -> None:
    """C10: what a chain that has split off inherits."""
    code = (await genuine_code(embedded_chain))[:-32] + (1).to_bytes(32, "big")
    address, _ = await deployed(embedded_chain, install(code))
    verification = await verified(embedded_chain, address)
    assert verification.is_verified
    assert any("was deployed on chain 1 and answers on chain" in warning for warning in verification.warnings)


async def test_credit_that_was_written_before_the_code_was_there_shows_in_the_transaction_alone(
    embedded_chain: Chain,
) -> None:
    # PUSH1 1, PUSH1 slot, SSTORE for the first slots: the code that is left is the genuine one.
    planted = b"".join(b"\x60\x01\x60" + bytes([slot]) + b"\x55" for slot in range(CREDIT_SLOTS))
    address, receipt = await deployed(embedded_chain, install(await genuine_code(embedded_chain), planted))
    by_code = await verified(embedded_chain, address)
    assert by_code.is_verified
    assert any("--transaction" in warning for warning in by_code.warnings)
    by_transaction = await verified(embedded_chain, address, receipt.tx_hash)
    assert "other init code" in by_transaction.findings[0]


async def test_a_transaction_that_created_something_else_proves_nothing(embedded_chain: Chain) -> None:
    contract = await Touchstone.deploy(TransactionSender(embedded_chain, dev_mnemonic_signer(5)), NETWORK)
    other, receipt = await deployed(embedded_chain, install(b"\0"))
    (finding,) = (await verified(embedded_chain, contract.address, receipt.tx_hash)).findings
    assert f"created {other}, not {contract.address}" in finding
    with pytest.raises(Transient, match="there is no transaction"):
        await verified(embedded_chain, contract.address, Hash32(b"\1" * 32))
