"""Derived secrets: the same inputs give the same secret, any other input another one; draws are exactly uniform."""

import hashlib
import hmac
from collections import Counter
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.factories import CHAIN_ID, CONTRACT, MINER, PAYER, VALIDATOR, digest
from validator.marks.secrets import DrawStream, Secrets

SEED = digest("master seed")
OF_DATASET = {"payer": PAYER, "source_data_hash": digest("data"), "scheme": "canary", "n": 16, "w": 4}
OTHERS = {"payer": MINER, "source_data_hash": digest("other"), "scheme": "backdoor", "n": 32, "w": 5}


def make_secrets(seed: bytes = SEED, chain_id: int = CHAIN_ID, contract: str = CONTRACT) -> Secrets:
    return Secrets(seed, chain_id, contract)


def numbers(stream: DrawStream, count: int = 8) -> list[int]:
    return [stream.below(2**32) for _ in range(count)]


def everything(secrets: Secrets, **changes: object) -> tuple[object, ...]:
    inputs = OF_DATASET | changes
    return (
        numbers(secrets.draw_stream(**inputs)),
        secrets.dataset_salt(**inputs),
        secrets.commitment_salt(VALIDATOR, 0),
    )


def test_the_same_inputs_give_the_same_secrets():
    """P2, H6: nothing needs to be stored, so nothing can be lost or rolled back."""
    assert everything(make_secrets()) == everything(make_secrets())


@pytest.mark.parametrize("other", [{"seed": digest("s")}, {"chain_id": 1}, {"contract": MINER}], ids=lambda o: min(o))
def test_every_secret_depends_on_seed_chain_and_contract(other):
    pairs = zip(everything(make_secrets()), everything(make_secrets(**other)), strict=True)
    assert all(here != there for here, there in pairs)


@pytest.mark.parametrize("name", OTHERS)
def test_draws_and_dataset_salt_depend_on_payer_data_scheme_n_and_w(name):
    here, there = everything(make_secrets()), everything(make_secrets(), **{name: OTHERS[name]})
    assert here[0] != there[0]
    assert here[1] != there[1]


def test_commitment_salts_differ_for_every_task_and_validator():
    """V10."""
    salts = [make_secrets().commitment_salt(party, nonce) for party in (VALIDATOR, PAYER) for nonce in range(20)]
    assert len(set(salts)) == 40


def test_the_dataset_salt_says_nothing_about_the_draws():
    """The salt goes to the miner, the key of the draws never does."""
    salt = make_secrets().dataset_salt(**OF_DATASET)
    assert numbers(DrawStream(salt)) != numbers(make_secrets().draw_stream(**OF_DATASET))


def test_derivation_is_hkdf_sha256_over_the_protocols_info():
    types = ["string", "uint256", "address", "address", "bytes32", "string", "uint256", "uint256"]
    info = abi_encode(types, ["dataset-salt", CHAIN_ID, CONTRACT, *OF_DATASET.values()])
    extracted = hmac.digest(bytes(32), SEED, hashlib.sha256)
    assert make_secrets().dataset_salt(**OF_DATASET) == hmac.digest(extracted, info + b"\1", hashlib.sha256)


def test_a_short_seed_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        make_secrets(seed=bytes(31))


def test_nothing_secret_shows_when_printed():
    """H5."""
    secrets = make_secrets()
    stream = secrets.draw_stream(**OF_DATASET)
    printed = f"{secrets} {secrets!r} {[secrets]} {stream!r} {stream}"
    for secret in (SEED, secrets.commitment_salt(VALIDATOR, 0)):
        assert secret.hex() not in printed
        assert repr(secret)[2:-1] not in printed


@pytest.mark.parametrize("bound", [2, 3, 4, 7, 10, 64])
def test_small_numbers_are_uniform(bound):
    stream = DrawStream(digest(f"uniform {bound}"))
    counts = Counter(stream.below(bound) for _ in range(200 * bound))
    assert set(counts) == set(range(bound))
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_values_that_would_favour_a_residue_are_thrown_away():
    """Just above 2^63 nearly every second value is: what is left is the keystream's values below the bound."""
    key, bound = digest("rejection"), 2**63 + 1
    keystream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(8 * 400))
    values = [int.from_bytes(keystream[i : i + 8], "big") for i in range(0, len(keystream), 8)]
    accepted = [value for value in values if value < bound]
    stream = DrawStream(key)
    assert [stream.below(bound) for _ in accepted] == accepted
    assert 150 < len(accepted) < 250


@given(st.integers(1, 2**64), st.binary(min_size=32, max_size=32))
def test_numbers_stay_below_their_bound(bound, key):
    assert 0 <= DrawStream(key).below(bound) < bound


@given(st.lists(st.integers(), unique=True, max_size=30), st.data())
def test_a_sample_has_different_members_and_leaves_the_population_alone(population, data):
    count = data.draw(st.integers(0, len(population)))
    before = list(population)
    sample = DrawStream(digest("sample")).sample(population, count)
    assert len(sample) == len(set(sample)) == count
    assert set(sample) <= set(population)
    assert population == before


def test_every_subset_is_as_likely():
    stream = DrawStream(digest("subsets"))
    counts = Counter(tuple(sorted(stream.sample(range(6), 3))) for _ in range(4_000))
    assert set(counts) == set(combinations(range(6), 3))
    assert chisquare(list(counts.values())).pvalue > 0.001
