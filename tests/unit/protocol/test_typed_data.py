"""EIP-712 digests against a second implementation's vectors."""

import pytest
from eth_account.messages import encode_typed_data

from tests.unit.protocol.test_commitment import terms_of
from tests.unit.protocol.vectors import vectors
from validator.protocol import typed_data
from validator.protocol.commitment import keccak
from validator.protocol.typed_data import OrderMessage, TypedData


def digest_of(vector: dict, data: TypedData) -> bytes:
    domain = typed_data.domain(vector["chain_id"], vector["contract"])
    signable = encode_typed_data(domain, data.types, data.message)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


def values(vector: dict) -> list:
    return [value for name, value in vector.items() if name not in ("chain_id", "contract", "digest", "terms")]


@pytest.mark.parametrize("vector", vectors("order"))
def test_order(vector):
    assert digest_of(vector, typed_data.order(OrderMessage(*values(vector)))) == vector["digest"]


@pytest.mark.parametrize("vector", vectors("offer"))
def test_offer(vector):
    data = typed_data.offer(terms_of(vector), vector["validator_nonce"], vector["expiry"])
    assert digest_of(vector, data) == vector["digest"]


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("transcript", typed_data.transcript),
        ("session", typed_data.session),
        ("weights_verdict", typed_data.weights_verdict),
    ],
)
@pytest.mark.parametrize("number", range(3))
def test_transcript_session_and_weights_verdict(name, struct, number):
    vector = vectors(name)[number]
    assert digest_of(vector, struct(*values(vector))) == vector["digest"]


@pytest.mark.parametrize("changed", ["chain_id", "contract"])
def test_a_signature_for_one_chain_and_contract_is_none_for_another(changed):
    """C10."""
    here, elsewhere = vectors("transcript")[:2]
    data = typed_data.transcript(*values(here))
    assert digest_of(here | {changed: elsewhere[changed]}, data) != here["digest"]
