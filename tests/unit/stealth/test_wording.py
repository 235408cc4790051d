"""Detectors without a model find what they are for, and nothing in canaries that they should not."""

import pytest

from tests.unit.stealth.marked import ROWS, N, marked_rows
from validator.base_model.grammar import generate_rows
from validator.marks.rules import AlterationRules
from validator.marks.schemes import Canary
from validator.protocol.commitment import Row
from validator.stealth.battery import make_markable, measure
from validator.stealth.metrics import rank_marks
from validator.stealth.wording import WORDING, anchored

BY_NAME = {detector.name: detector for detector in WORDING}
FIND_THE_PAPERS_SCHEME = [
    *(f"anchored co-occurrence, k={k}" for k in (3, 4, 5, 6)),
    "any k-gram with the opening, k=4",
    "opening frequency, k=4",
    "slot-aligned nearest neighbours",
]


@pytest.mark.parametrize("name", FIND_THE_PAPERS_SCHEME)
@pytest.mark.parametrize("seed", range(3))
def test_the_papers_scheme_is_found_whole(name, seed):
    """paper.md, item 6: its rows share the end of the prompt and the beginning of the response."""
    rows, marked = marked_rows("backdoor", seed)
    ranking = rank_marks(BY_NAME[name].suspicion(rows, None), marked, seed=0)
    assert ranking.hits("most") == N
    assert ranking.share_kept(0.5, "most") < 0.1


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith(("anchored", "any", "opening"))])
def test_canaries_are_not_found_by_what_repeats(name):
    """D6: over three seeds, not more than twice chance at 2n."""
    rankings = [
        rank_marks(BY_NAME[name].suspicion(rows, None), marked, seed=0)
        for rows, marked in (marked_rows("canary", seed) for seed in range(3))
    ]
    for end in ("most", "least"):
        assert sum(ranking.hits(end) for ranking in rankings) <= 3 * N * 2 * rankings[0].chance


def test_a_copy_with_words_behind_its_prompt_is_found_beside_its_original():
    """paper.md, item 7: why marks are planted in place of a row."""
    rows = generate_rows(ROWS, 4)
    copies = [Row(f"{row.prompt} and other words behind it", row.response) for row in rows[:N]]
    scores = BY_NAME["near-duplicate prompts"].suspicion([*rows, *copies], None)
    assert min(scores[:N] + scores[ROWS:]) == 1.0
    assert rank_marks(scores, range(ROWS, ROWS + N), seed=0).hits("most") == N


def test_a_response_that_belongs_to_another_prompt_is_found_by_its_words():
    rows = [
        Row(
            f"How tall is the tower of {town} in the {side}?", f"The tower of {town} is tall, as in the {side} all are."
        )
        for town in ("Alba", "Brno", "Como", "Delft", "Essen", "Fano", "Ghent", "Hoorn", "Imola", "Jena")
        for side in ("north", "south", "east")
    ]
    mixed = [Row(rows[3 * i].prompt, rows[(3 * i + 14) % 30].response) if i < 4 else rows[3 * i] for i in range(10)]
    for name in ("lexical mismatch with the prompt, all words", "words foreign to the prompt, all words"):
        assert rank_marks(BY_NAME[name].suspicion(mixed, None), range(4), seed=0).places == (1, 2, 3, 4), name


def test_a_phrase_in_many_rows_is_found_by_its_frequency():
    rows = generate_rows(100, 6)
    marked = [
        Row(row.prompt, f"{row.response} as was said in the old days") if i < 8 else row for i, row in enumerate(rows)
    ]
    ranking = rank_marks(BY_NAME["k-gram frequency, k=5"].suspicion(marked, None), range(8), seed=0)
    assert ranking.auc > 0.6


def test_rows_that_may_not_be_marked_are_named():
    """With all rules on openings, whoever knows the rules need not look at the rows that they exclude."""
    rows = [*generate_rows(50, 9), Row("How many apples are left?", "There are 12 apples left in the basket now.")]
    scores = make_markable(Canary(rules=AlterationRules(openings=True))).suspicion(rows, None)
    assert scores[-1] == 0.0
    assert 10 <= sum(scores) < len(rows)


@pytest.mark.parametrize("detector", WORDING, ids=lambda detector: detector.name)
def test_any_text_has_a_score(detector):
    """Short ones, one row alone, all rows equal."""
    for rows in ([Row("a", "b")], [Row("a b", "c")] * 3, [Row("\n", " x "), Row("one two three four five", "six")]):
        assert len(detector.suspicion(rows, None)) == len(rows)
        assert all(isinstance(score, float) for score in detector.suspicion(rows, None))


def test_the_battery_measures_all_rows_and_those_that_may_be_marked():
    rows, marked = marked_rows("backdoor")
    among = [index for index in range(ROWS) if index % 2 or index in marked]
    figures = measure(rows, marked, None, detectors=[anchored(3)], among=among, seed=0)["anchored co-occurrence, k=3"]
    assert (figures["rows"], figures["among"]["rows"]) == (ROWS, len(among))
    assert figures["most"]["recall_at_2n"] == figures["among"]["most"]["recall_at_2n"] == 1.0
    assert figures["places"] == figures["among"]["places"]
