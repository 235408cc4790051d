"""Planting: refused with the reason where nobody could learn it (D4, V6), and the same bytes for the same seed."""

from dataclasses import replace

import pytest

from tests.factories import CHAIN_ID, CONTRACT, MINER, PAYER, digest, make_rows
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.errors import BadInput
from validator.marks.planting import PlantedDataset, check_learnable, find_markable, hash_source_data, plant
from validator.marks.rules import AlterationRules
from validator.marks.schemes import Backdoor, Canary
from validator.marks.secrets import Secrets
from validator.protocol.commitment import MerkleTree, Row, hash_marks, hash_row, verify_proof
from validator.protocol.wire import parse_training_file

ROWS = generate_rows(300, seed=1)
SEED = digest("master seed")


def plant_canaries(rows=ROWS, n=16, *, seed=SEED, chain_id=CHAIN_ID, contract=CONTRACT, payer=PAYER) -> PlantedDataset:
    secrets = Secrets(seed, chain_id, contract)
    return plant(rows, Canary(), n, secrets=secrets, payer=payer, scorer=HashScorer())


PLANTED = plant_canaries()


def test_the_same_seed_contract_payer_and_data_give_the_same_bytes():
    """P5: one dataset is always offered byte-identical, or the marks show by comparison."""
    again = plant_canaries()
    assert again.training_file == PLANTED.training_file
    assert (again.dataset_root, again.marks, again.dataset_salt) == (
        PLANTED.dataset_root,
        PLANTED.marks,
        PLANTED.dataset_salt,
    )


@pytest.mark.parametrize(
    "other",
    [
        {"seed": digest("s")},
        {"chain_id": 1},
        {"contract": MINER},
        {"payer": MINER},
        {"rows": [*ROWS[1:], Row("Another prompt?", "Another answer with several words in it.")]},
    ],
    ids=lambda o: min(o),
)
def test_any_other_seed_chain_contract_payer_or_data_give_other_marks(other):
    planted = plant_canaries(**other)
    assert planted.dataset_salt != PLANTED.dataset_salt
    assert planted.training_file != PLANTED.training_file
    assert {m.draw.text for m in planted.marks} != {m.draw.text for m in PLANTED.marks}


def test_the_tree_covers_all_rows():
    leaves = [hash_row(PLANTED.dataset_salt, row, 4).leaf for row in PLANTED.rows]
    assert len(leaves) == 300
    assert MerkleTree(leaves).root == PLANTED.dataset_root


def test_marks_and_their_hashes_stand_in_ascending_order_of_row_leaves():
    leaves = [hashes.leaf for hashes in PLANTED.mark_hashes]
    assert leaves == sorted(set(leaves))
    assert PLANTED.marks_hash == hash_marks(leaves)
    for mark, hashes, proof in zip(PLANTED.marks, PLANTED.mark_hashes, PLANTED.mark_proofs, strict=True):
        assert PLANTED.rows[mark.row_index] == mark.row
        assert hashes == hash_row(PLANTED.dataset_salt, mark.row, 4)
        assert verify_proof(PLANTED.dataset_root, hashes.leaf, proof)


def test_the_training_file_is_the_planted_rows():
    assert parse_training_file(PLANTED.training_file) == list(PLANTED.rows)


def test_what_the_verdict_needs_is_kept():
    assert PLANTED.null_probabilities == (2**-4,) * 16
    assert PLANTED.source_data_hash == hash_source_data(ROWS) != hash_source_data(PLANTED.rows)
    assert PLANTED.generator == HashScorer.identity


def test_marked_rows_are_spread_over_the_dataset():
    indices = [m.row_index for seed in range(20) for m in plant_canaries(seed=digest(str(seed))).marks]
    assert 110 < sum(indices) / len(indices) < 190
    assert len(set(indices)) > 150


@pytest.mark.parametrize(("n", "count"), [(16, 300), (32, 1600), (64, 3200)])
def test_one_row_fewer_than_the_protocols_table_asks_for_is_refused(n, count):
    rows = make_rows(count)
    assert len(check_learnable(rows, Canary(), n)) == count
    with pytest.raises(BadInput, match=f"{count - 1} rows are too few for {n} marks: at least {count} are needed"):
        check_learnable(rows[1:], Canary(), n)


@pytest.mark.parametrize("padded", [4, 5])
def test_responses_that_no_reply_can_match_are_refused(padded):
    """V6."""
    rows = [replace(row, response="\n" + row.response) for row in ROWS[:padded]] + ROWS[padded:]
    if padded > 4:
        with pytest.raises(BadInput, match="5 responses start with white space, at most 4 may: strip them"):
            check_learnable(rows, Canary(), 16)
    else:
        assert len(check_learnable(rows, Canary(), 16)) == sum(
            index >= padded for index in find_markable(ROWS, Canary())
        )


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([Row(f"Who is {i}?", "nobody") for i in range(300)], "one-word answers"),
        ([Row(f"質問{i}", f"これは{i}番目の答えです。") for i in range(300)], "scripts without spaces"),
        ([Row("Why?", row.response) for row in ROWS], "prompt occurs once"),
        ([replace(row, response=" ".join(row.response.split(" ")[:4])) for row in ROWS], "more than 4 words"),
        (
            [ROWS[i] for i in find_markable(ROWS, Canary())[:74]] + [Row(f"Who is {i}?", "nobody") for i in range(226)],
            "only 74 of 300 .* at least 75",
        ),
    ],
    ids=["one word", "no spaces", "one prompt", "exactly w words", "a quarter"],
)
def test_data_that_cannot_be_marked_is_refused_with_the_reason(rows, why):
    with pytest.raises(BadInput, match=f"^only {'' if why.startswith('only') else '.*'}") as refused:
        plant_canaries(rows)
    refused.match(why)


def test_rows_that_cannot_be_marked_are_left_alone():
    special = [
        Row("short", "here there now then"),
        Row("space first", " here there now then where"),
        Row("newline first", "\nhere there now then where"),
        Row("empty tail", "here there now then "),
        Row("blank tail", "here there now then \n"),
        Row("twice", "here there now then where"),
        Row("twice", "who what why how when"),
        Row("nothing", ""),
    ]
    good = Row("long enough", "here there now then where")
    assert find_markable([*special, good], Canary()) == [len(special)]
    rows = special + ROWS
    for seed in range(10):
        planted = plant_canaries(rows, seed=digest(str(seed)))
        assert list(planted.rows[: len(special)]) == special


def test_a_row_is_marked_only_where_what_is_replaced_holds_nothing_protected():
    rows = [
        Row(f"a{i}", text) for i, text in enumerate(["we saw all 4 of them", "we saw all of them, 4", "4 of us saw it"])
    ]
    strict = AlterationRules(openings=True)
    assert find_markable(rows, Canary(rules=strict)) == [1]
    assert find_markable(rows, Canary(rules=replace(strict, numbers=False))) == [0, 1, 2]
    assert find_markable(rows, Canary()) == [0, 1, 2], "openings are bound by patterns alone, unless it is said"
    assert find_markable(rows, Canary(rules=AlterationRules(patterns=("all 4",)))) == [1, 2]
    assert find_markable(rows, Backdoor(w=4, rules=strict)) == [0, 1, 2], "a backdoor only adds words"


def test_a_width_of_one_needs_two_words():
    assert find_markable([Row("a", "yes"), Row("b", "yes indeed")], Canary(w=1)) == [1]


def test_a_marked_prompt_that_is_there_already_is_refused():
    """D2: with one candidate for each word the trigger is foreseeable, and the customer's data hold it already."""

    class OneFavourite(HashScorer):
        def score(self, _prompt, _prefix, words):
            return [float(word == "yes") for word in words]

    rows = [Row(prompt, row.response) for row in ROWS for prompt in (row.prompt, f"{row.prompt} yes")]
    scheme = Backdoor(k=1, trigger_words=1)
    with pytest.raises(BadInput, match="equals another row"):
        plant(rows, scheme, 16, secrets=Secrets(SEED, CHAIN_ID, CONTRACT), payer=PAYER, scorer=OneFavourite())
