"""The customer's rules: their JSON, and patterns that can neither hang the planting nor make it depend on a clock."""

import json
import pickle
import time

import pytest

from validator.errors import BadInput
from validator.marks.protected import find_protected
from validator.marks.rules import (
    ALL_PROTECTED,
    MAX_LINE_WORK,
    MAX_PATTERN_CHARACTERS,
    MAX_PATTERNS,
    AlterationRules,
)


def spans_of(pattern: str, text: str) -> list[str]:
    return [text[start:end] for start, end in AlterationRules(patterns=(pattern,)).find_patterns(text)]


@pytest.mark.parametrize(
    "rules",
    [
        ALL_PROTECTED,
        AlterationRules(names=False, json=False, openings=True),
        AlterationRules(patterns=("ICD-[0-9]+", "é|\\bmg\\b")),
    ],
)
def test_rules_come_back_from_their_json_and_from_another_process(rules):
    assert AlterationRules.from_json(rules.to_json().encode()) == rules
    assert pickle.loads(pickle.dumps(rules)) == rules  # noqa: S301  # our own bytes


def test_openings_are_bound_by_patterns_alone_unless_it_is_said():
    assert AlterationRules(patterns=("a",)).of_openings.find_patterns("a")
    assert not find_protected("We saw 4 of Ann's", ALL_PROTECTED.of_openings)
    strict = AlterationRules(openings=True, names=False)
    assert strict.of_openings == strict


def test_what_is_not_said_stays_protected():
    assert AlterationRules.from_json(b"{}") == ALL_PROTECTED
    assert AlterationRules.from_json(b'{"names": false}') == AlterationRules(names=False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "the rules are not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        (
            "[]",
            "the rules are a JSON object with some of numbers, code, names, json, urls, formulae, openings, patterns",
        ),
        ('{"name": false}', "the rules are a JSON object with some of"),
        ('{"names": 0}', "names is true or false"),
        ('{"patterns": "a"}', "patterns is a list of regular expressions"),
        ('{"patterns": [1]}', "patterns is a list of regular expressions"),
        ('{"patterns": ["("]}', "is no regular expression of RE2"),
        ('{"patterns": ["(a)\\\\1"]}', "no back-reference"),
        ('{"patterns": ["a(?=b)"]}', "no look-around"),
        (json.dumps({"patterns": ["((a{1000}){1000}){1000}"]}), "is no regular expression of RE2"),
        (json.dumps({"patterns": ["a" * (MAX_PATTERN_CHARACTERS + 1)]}), "a pattern of 501 characters is too long"),
        (json.dumps({"patterns": ["a"] * (MAX_PATTERNS + 1)}), "33 patterns are too many: at most 32"),
    ],
)
def test_wrong_rules_are_refused_with_the_way_out(body, reason):
    with pytest.raises(BadInput, match=reason):
        AlterationRules.from_json(body.encode())


def test_patterns_match_line_by_line_and_in_characters():
    assert spans_of("b.*", "é abc\nxb 💡 b\n\nb") == ["bc", "b 💡 b", "b"]
    assert spans_of("^a|a$", "aba\naa") == ["a", "a", "a", "a"]
    assert spans_of("x*", "axxa") == ["xx"], "an empty match protects nothing"
    assert find_protected("take ICD-9 now", AlterationRules(numbers=False, patterns=("ICD-[0-9]",))) == [(5, 10)]


def test_what_makes_other_engines_backtrack_for_ever_takes_no_time():
    begun_s = time.process_time()
    assert spans_of("(a+)+$|(a|a)*b", "a" * 50_000 + "!") == []
    assert time.process_time() - begun_s < 1


def test_too_much_work_is_refused_by_counting_wherever_it_runs():
    """Each search reads the line to its end: matches times length is bounded, so the verdict is the same everywhere."""
    line = "a" * (1 << 17)
    assert MAX_LINE_WORK == (1 << 26)
    with pytest.raises(BadInput, match=r"'a' matches more than 512 times in a line of 131072 characters: break the"):
        spans_of("a", line)
    assert spans_of("a+", line) == [line]
    assert len(spans_of("a", "a\n" * (1 << 17))) == 1 << 17
