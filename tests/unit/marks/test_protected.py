"""What no mark may touch. In the examples protected words stand in ⟦ ⟧; everything else may be altered."""

import os
import time
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import require_or_skip
from validator.edges.datasets import load_rows
from validator.marks.planting import find_markable
from validator.marks.protected import blank_protected, find_free_words, find_protected
from validator.marks.rules import ALL_PROTECTED, AlterationRules
from validator.marks.schemes import Canary
from validator.protocol.commitment import Row

NOTHING = AlterationRules(**{field.name: False for field in fields(AlterationRules) if field.name != "patterns"})

EXAMPLES = {
    "numbers": [
        "She sold ⟦48⟧ clips for ⟦$5.50⟧ each, a ⟦20%⟧ rise since ⟦May-2020,⟧ and ⟦half⟧ of ⟦twenty-one⟧ were red.",
        "The ⟦Three⟧ of us, ⟦(two⟧ of them young) took ⟦½⟧ of it; someone attended, often alone.",
        "The ⟦1st⟧ and the ⟦٣⟧ are numbers, the first is not.",
    ],
    "urls": [
        "See ⟦https://example.com/a?b=c,⟧ ⟦www.example.org⟧ or ⟦docs.example.io/x⟧ now.",
        "Please write to ⟦Ann.Lee@mail.example,⟧ not to me.",
        "and/or e.g. this. That stays @home.",
    ],
    "code": [
        "Call ⟦`len(x)`⟧ or ⟦`a`⟧⟦` `⟧ hmm ⟦my_value⟧ and ⟦toString⟧ and ⟦std::move⟧ now",
        "Run this:\n⟦```\nplain words inside\n```⟧ and then go on",
        "It ends open:\n⟦~~~ words that\nnever close⟧",
        "⟦\tindented as code⟧\nThen that.\nAnd more text here.",
        "Say ⟦<b>bold</b>⟧ and ⟦--verbose⟧ to it - or not.",
        "⟦def add(a, b):\n    return a + b⟧",
        "⟦import java.util.List;\n\npublic class A {\n  int x;\n}⟧",
    ],
    "json": [
        'It gives ⟦{"name": "Ann", "tags": ["a b", null]}⟧ as a reply',
        'A list ⟦["red pen", "blue"]⟧ and {this} is none, nor [that one]',
    ],
    "formulae": [
        "We know that ⟦a⟧ ⟦=⟧ ⟦b⟧ ⟦+⟧ ⟦c⟧ holds here",
        r"With ⟦$\alpha + b$⟧ and ⟦\(x y\)⟧ and ⟦\[ long one \]⟧ and ⟦$$ other one $$⟧ too",
        r"Then ⟦\begin{align} some words \end{align}⟧ follows ⟦\frac{a}{b}⟧ here",
        "It is ⟦2*x⟧ or ⟦y^n⟧ with ⟦n⟧ ⟦≥⟧ ⟦m,⟧ as ⟦x⟧ ⟦-⟧ ⟦y⟧ shows",
        "A dash - as here - and this / that are none; nor is a\n- list or\n* bullet",
    ],
    "names": [
        "⟦Yesterday⟧ ⟦Ann⟧ met ⟦Dr.⟧ ⟦Lee⟧ in ⟦New⟧ ⟦York,⟧ and I think ⟦NASA's⟧ too. Then she left: I'm sure!",
        "⟦Ann⟧ came. She saw that ⟦Ann⟧ slept. ⟦Ann's⟧ dog barked.",
        "⟦Albert⟧ ⟦Einstein⟧ was born there.",
        "- Wash the cups\n- Dry them\n1. Then rest\n# Heading of it\nNew line here",
        "⟦In⟧ ⟦Élodie⟧ and ⟦Жанна⟧ the first letters are capital; élodie is not.",
    ],
}


def parse(example: str) -> tuple[str, list[bool]]:
    """The text, and for each word whether it may be altered."""
    free, depth = [], False
    words = example.split(" ")
    for word in words:
        free.append(not depth and "⟦" not in word)
        depth = word.rfind("⟦") > word.rfind("⟧") or (depth and "⟧" not in word)
    return example.replace("⟦", "").replace("⟧", ""), free


@pytest.mark.parametrize(
    ("rule", "example"), [(rule, example) for rule, examples in EXAMPLES.items() for example in examples]
)
def test_each_rule_alone_protects_what_it_names_and_nothing_else(rule, example):
    text, free = parse(example)
    words = text.split(" ")
    found = find_free_words(Row("", text), replace(NOTHING, **{rule: True}))
    assert [word for word, is_free in zip(words, found, strict=True) if not is_free] == [
        word for word, is_free in zip(words, free, strict=True) if not is_free
    ]
    assert all(find_free_words(Row("", text), NOTHING)), "a rule that is off protects nothing"
    assert not any(a and not b for a, b in zip(find_free_words(Row("", text), ALL_PROTECTED), found, strict=True))


def test_a_name_in_the_prompt_is_one_where_it_opens_the_response():
    response = "Natalia sold clips"
    assert find_free_words(Row("How much did Natalia sell?", response), ALL_PROTECTED) == [False, True, True]
    assert find_free_words(Row("How much was it?", response), ALL_PROTECTED) == [True, True, True]


def test_what_may_be_offered_holds_nothing_protected_and_keeps_its_places():
    assert blank_protected("She sold 48 clips", ALL_PROTECTED) == "She sold  clips"
    assert blank_protected("48 clips", ALL_PROTECTED) == " clips"


texts = st.text(st.sampled_from('aB1. \n`~$\\[](){}"=+:/@_-é«💡\u2028'), max_size=60)


@given(texts, texts)
def test_spans_are_ascending_apart_and_inside_the_text_whatever_it_is(text, context):
    spans = find_protected(text, ALL_PROTECTED, context)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(end < start for (_, end), (start, _) in pairwise(spans))
    free = find_free_words(Row(context, text), ALL_PROTECTED)
    assert len(free) == text.count(" ") + 1
    offset = 0
    for word, is_free in zip(text.split(" "), free, strict=True):
        touched = any(start < offset + len(word) and offset < end for start, end in spans)
        assert is_free == (not touched)
        offset += len(word) + 1


@given(texts)
def test_every_digit_is_protected(text):
    spans = find_protected(text, replace(NOTHING, numbers=True))
    assert all(any(a <= i < b for a, b in spans) for i, character in enumerate(text) if character.isdigit())


HOSTILE = ["a", "[", '["a",', '{"a":[', '["]","[",', "`a", "$a ", "\\(", "\\begin{", "a@", "a.", "= a ", "A ", ";  "]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(piece):
    """P2: 256 KiB in under two seconds of processor time, where anything quadratic would take minutes."""
    begun_s = time.process_time()
    find_protected(piece * ((1 << 18) // len(piece)), ALL_PROTECTED, piece * 1000)
    assert time.process_time() - begun_s < 2


MARKABLE = {
    # Openings protected by all rules, by all but numbers, by all but names, by none: shares of about 900 rows, w = 4.
    "exercism_code": (0.00, 0.00, 0.01, 0.19),
    "gsm8k_train": (0.34, 0.56, 0.43, 0.97),
    "medquad": (0.51, 0.54, 0.88, 0.94),
    "sgd_dialogue": (0.60, 0.88, 0.69, 1.00),
    "squad_question_generation": (0.94, 0.98, 0.94, 0.98),
}


@pytest.mark.parametrize("name", MARKABLE)
def test_how_many_rows_of_real_data_can_be_marked(name, record_property):
    """D4. Less than a quarter is refused; of mathematics a third is left where openings are protected as well."""
    directory = os.environ.get("TOUCHSTONE_DATA")
    if not directory:
        require_or_skip("TOUCHSTONE_DATA names the folder of real datasets")
    rows = load_rows(Path(directory) / f"{name}.jsonl")
    rows = rows[:: len(rows) // 900]
    strict = AlterationRules(openings=True)
    choices = (strict, replace(strict, numbers=False), replace(strict, names=False), ALL_PROTECTED)
    shares = [len(find_markable(rows, Canary(rules=rules))) / len(rows) for rules in choices]
    record_property("shares", shares)
    assert shares == pytest.approx(MARKABLE[name], abs=0.06)
