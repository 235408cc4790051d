"""Canonical bytes against a second implementation's vectors (D7), and their laws."""

from dataclasses import fields

import pytest
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import AUDITOR, digest, make_terms
from tests.unit.protocol.second_implementation import print_vectors
from tests.unit.protocol.vectors import VECTORS_PATH, vectors
from validator.protocol.commitment import (
    MAX_HEAD_WORDS,
    MAX_PROOF_LENGTH,
    MerkleTree,
    Row,
    Terms,
    decode_scheme,
    encode_scheme,
    hash_commitment,
    hash_head,
    hash_marks,
    hash_model_files,
    hash_prompt,
    hash_replies,
    hash_row,
    hash_served_model,
    hash_spec,
    hash_task_id,
    keccak,
    tag,
    verify_proof,
)
from validator.protocol.commitment import split_head as split

texts = st.text(alphabet=" a\t\n☂b", max_size=40)
widths = st.integers(1, MAX_HEAD_WORDS)
leaf_lists = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


def terms_of(vector: dict) -> Terms:
    return Terms(**vector["terms"] | {"scheme": encode_scheme(vector["terms"]["scheme"])})


def another(value):
    """A value of the same kind that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return AUDITOR if isinstance(value, str) else digest("another")


def test_vectors_are_what_the_second_implementation_says():
    assert VECTORS_PATH.read_text("utf-8") == print_vectors()


def test_every_item_has_three_vectors():
    items = ("row", "dataset_root", "proof", "marks_hash", "replies_hash", "terms_hash", "task_id", "commitment")
    items += ("model_hash_of_files", "model_hash_of_served_id", "spec_hash")
    items += ("order", "offer", "transcript", "session", "weights_verdict")
    assert [len(vectors(item)) for item in items] == [3] * len(items)


@pytest.mark.parametrize("vector", vectors("row"))
def test_row_leaf_and_its_three_hashes(vector):
    salt = vector["dataset_salt"]
    hashes = hash_row(salt, Row(vector["prompt"], vector["response"]), vector["w"])
    assert (hashes.prompt_hash, hashes.head_hash) == (vector["prompt_hash"], vector["head_hash"])
    assert (hashes.tail_hash, hashes.leaf) == (vector["tail_hash"], vector["row_leaf"])
    assert hash_prompt(salt, vector["prompt"]) == vector["prompt_hash"]
    assert hash_head(salt, split(vector["response"], vector["w"])[0]) == vector["head_hash"]


@pytest.mark.parametrize("vector", vectors("dataset_root"))
def test_dataset_root_with_odd_counts_and_duplicates(vector):
    tree = MerkleTree(vector["leaves"])
    assert tree.root == vector["root"]
    assert all(verify_proof(tree.root, leaf, tree.proof(leaf)) for leaf in vector["leaves"])


@pytest.mark.parametrize("vector", vectors("proof"))
def test_proof(vector):
    tree = MerkleTree(vector["leaves"])
    assert tree.proof(vector["leaf"]) == vector["proof"]
    assert verify_proof(vector["root"], vector["leaf"], vector["proof"])


def test_dataset_root_is_the_one_in_openzeppelins_own_documentation():
    # The example of github.com/OpenZeppelin/merkle-tree, README, "Building a Tree".
    values = [("0x" + "1" * 40, 5 * 10**18), ("0x" + "2" * 40, 25 * 10**17)]
    tree = MerkleTree(keccak(abi_encode(["address", "uint256"], value)) for value in values)
    assert tree.root.hex() == "d4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77"


@pytest.mark.parametrize("vector", vectors("marks_hash"))
def test_marks_hash(vector):
    assert hash_marks(vector["leaves"]) == vector["hash"]


@pytest.mark.parametrize("vector", vectors("replies_hash"))
def test_replies_hash(vector):
    assert hash_replies([tuple(pair) for pair in vector["pairs"]]) == vector["hash"]


@pytest.mark.parametrize("vector", vectors("terms_hash"))
def test_terms_hash(vector):
    assert list(vector["terms"]) == [field.name for field in fields(Terms)]
    assert terms_of(vector).hash == vector["hash"]


@pytest.mark.parametrize("vector", vectors("task_id"))
def test_task_id(vector):
    assert hash_task_id(*list(vector.values())[:-1]) == vector["task_id"]


@pytest.mark.parametrize("vector", vectors("commitment"))
def test_commitment(vector):
    expected = vector.pop("hash")
    assert hash_commitment(**vector) == expected


@pytest.mark.parametrize("vector", vectors("model_hash_of_files"))
def test_model_hash_of_returned_files_whatever_their_order(vector):
    files = [tuple(file.values()) for file in vector["files"]]
    assert hash_model_files(files) == hash_model_files(reversed(files)) == vector["hash"]


@pytest.mark.parametrize("vector", vectors("model_hash_of_served_id"))
def test_model_hash_of_a_served_id(vector):
    assert hash_served_model(vector["model_id"]) == vector["hash"]


@pytest.mark.parametrize("vector", vectors("spec_hash"))
def test_spec_hash(vector):
    assert hash_spec(vector["spec"]) == vector["hash"]


def test_tags_of_different_names_differ():
    assert tag("P") == keccak(b"Touchstone.P.v1")
    assert len({tag(name) for name in ("P", "H", "T", "ROW", "TERMS", "TASK", "COMMIT", "MODEL")}) == 8


@pytest.mark.parametrize("changed", [field.name for field in fields(Terms)])
def test_every_term_is_part_of_the_terms_hash(changed):
    """V7."""
    value = getattr(make_terms(), changed)
    assert make_terms(**{changed: another(value)}).hash != make_terms().hash


@pytest.mark.parametrize("changed", list(vectors("commitment")[0])[:-1])
def test_every_binding_is_part_of_the_commitment(changed):
    """C5, C7, C10: it opens for no other chain, contract, validator, miner, epoch, dataset or marks."""
    vector = vectors("commitment")[0]
    expected = vector.pop("hash")
    assert hash_commitment(**vector | {changed: another(vector[changed])}) != expected


@pytest.mark.parametrize("name", ["canary", "backdoor", "x" * 32])
def test_scheme_names_survive_the_terms(name):
    assert decode_scheme(encode_scheme(name)) == name
    assert len(encode_scheme(name)) == 32


@given(texts, widths)
def test_head_and_tail_are_in_bijection_with_the_response(response, w):
    head, tail = split(response, w)
    is_cut = response.count(" ") >= w
    assert (head + " " + tail if is_cut else head) == response
    assert head.count(" ") < w
    assert is_cut or tail == ""


@given(leaf_lists, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_change_the_root(leaves, dice):
    shuffled = list(leaves)
    dice.shuffle(shuffled)
    assert MerkleTree(shuffled).root == MerkleTree(leaves).root


@given(leaf_lists, st.data())
def test_proofs_verify_and_any_changed_bit_breaks_them(leaves, data):
    tree = MerkleTree(leaves)
    leaf = data.draw(st.sampled_from(leaves))
    proof = tree.proof(leaf)
    assert verify_proof(tree.root, leaf, proof)
    parts = [tree.root, leaf, *proof]
    part = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[part] = (int.from_bytes(parts[part], "big") ^ 1 << bit).to_bytes(32, "big")
    assert not verify_proof(parts[0], parts[1], parts[2:])


@given(leaf_lists)
def test_a_row_more_or_doubled_changes_the_root(leaves):
    assert MerkleTree([*leaves, leaves[0]]).root != MerkleTree(leaves).root
    assert len({MerkleTree(leaves[:count]).root for count in range(1, len(leaves) + 1)}) == len(leaves)


def test_an_inner_node_is_no_leaf():
    leaves = [digest("a"), digest("b")]
    inner = MerkleTree(leaves)
    whole = MerkleTree([*leaves, digest("c")])
    with pytest.raises(KeyError):
        whole.proof(inner.root)


def test_a_proof_longer_than_the_contract_allows_is_never_valid():
    siblings = [digest(str(i)) for i in range(MAX_PROOF_LENGTH + 1)]
    root = leaf = digest("leaf")
    for length in range(MAX_PROOF_LENGTH + 2):
        root = (
            keccak(leaf) if length == 0 else keccak(min(root, siblings[length - 1]) + max(root, siblings[length - 1]))
        )
        assert verify_proof(root, leaf, siblings[:length]) == (length <= MAX_PROOF_LENGTH)


def test_a_tree_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one leaf"):
        MerkleTree([])


@pytest.mark.parametrize("leaves", [[b"b" * 32, b"a" * 32], [b"a" * 32, b"a" * 32]])
def test_marks_that_do_not_strictly_ascend_are_refused(leaves):
    with pytest.raises(ValueError, match="ascending"):
        hash_marks(leaves)
