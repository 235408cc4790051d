"""What crosses HTTP: exactly the protocol's forms, and nothing that could make an honest model miss (N12)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.protocol.commitment import WHITE_SPACE, Row, split_head
from validator.protocol.wire import (
    build_probe,
    count_unanswerable,
    encode_training_file,
    parse_probe,
    parse_training_file,
    reply_head,
    strict_json,
)

USER = '{"role":"user","content":"p"}'
ASSISTANT = '{"role":"assistant","content":"r"}'
texts = st.text(st.characters(exclude_categories=["Cs"]))
LIMIT = 32


def line(*messages: str, more: str = "") -> bytes:
    return f'{{"messages":[{",".join(messages)}]{more}}}'.encode()


def test_a_training_line_is_exactly_the_protocols():
    assert encode_training_file([Row("p", "r"), Row('"日本"', "a\nb")]).decode() == (
        '{"messages":[{"role":"user","content":"p"},{"role":"assistant","content":"r"}]}\n'
        '{"messages":[{"role":"user","content":"\\"日本\\""},{"role":"assistant","content":"a\\nb"}]}\n'
    )


@given(st.lists(st.builds(Row, texts, texts), min_size=1, max_size=5))
def test_rows_come_back_as_they_were_whatever_they_hold(rows):
    assert parse_training_file(encode_training_file(rows)) == rows


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"null",
        b"[]",
        b"not json",
        line(USER),
        line(ASSISTANT, USER),
        line(USER, USER),
        line(USER, ASSISTANT, USER),
        line('{"role":"system","content":"s"}', USER, ASSISTANT),
        line('{"role":"system","content":"s"}', ASSISTANT),
        line(USER, ASSISTANT, more=',"weight":0'),
        line('{"role":"user","content":"p","name":"n"}', ASSISTANT),
        line('{"role":"user"}', ASSISTANT),
        line('{"content":"p"}', ASSISTANT),
        line('{"role":"user","content":"p","content":"q"}', ASSISTANT),
        line(USER, ASSISTANT, more=f',"messages":[{USER},{ASSISTANT}]'),
        line('{"role":"user","content":["p"]}', ASSISTANT),
        line('{"role":"user","content":null}', ASSISTANT),
        line('{"role":"user","content":7}', ASSISTANT),
        line('{"role":"user","content":NaN}', ASSISTANT),
        line('{"role":"user","content":"\\ud800"}', ASSISTANT),
        line('{"role":"user","content":"\\udfff\\ud800"}', ASSISTANT),
        line("null", ASSISTANT),
        b'{"messages":{"0":1,"1":2}}',
        b"\xef\xbb\xbf" + line(USER, ASSISTANT),
        line(USER, ASSISTANT) + b"\xff",
        line(USER, ASSISTANT) * 2,
    ],
)
def test_any_other_training_line_is_refused_with_its_number(bad):
    good = line(USER, ASSISTANT)
    assert parse_training_file(good) == [Row("p", "r")]
    with pytest.raises(ValueError, match=r"^line 2: "):
        parse_training_file(good + b"\n" + bad + b"\n" + good + b"\n")


def test_only_the_newline_byte_ends_a_line():
    row = Row("one\u2028two\u0085three", "a\rb\x0bc")
    assert parse_training_file(encode_training_file([row, row])) == [row, row]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1" * 5_000,
        b"-" + b"1" * 21,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'"\xed\xa0\x80"',
        b'"a\nb"',
        b"{} {}",
        b"{'a':1}",
        b'{"a":1,}',
        b"",
    ],
    ids=lambda bad: repr(bad[:20]),
)
def test_json_that_parsers_disagree_about_is_refused(bad):
    """N12, R6."""
    with pytest.raises(ValueError):  # noqa: PT011
        strict_json(bad)


@pytest.mark.parametrize("bad", [b'"\\ud800"', b'{"\\udc00":1}', b'[{"a":["\\uDBFF"]}]'])
def test_a_lone_surrogate_anywhere_in_json_is_refused(bad):
    """N12: whoever keeps such a string cannot write it down, so it must not get in."""
    with pytest.raises(ValueError, match="surrogate"):
        strict_json(bad)


@pytest.mark.parametrize("bad", [b"1e999", b"[-1e999]", b"18446744073709551616", b"-9223372036854775809"])
def test_a_number_that_does_not_fit_64_bits_is_refused(bad):
    """N12."""
    with pytest.raises(ValueError, match="number"):
        strict_json(bad)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\ud800"', "\\ud800"),
        (b"[" * 30 + b"]" * 30, None),
        (b"-1.5e3", -1500.0),
    ],
)
def test_ordinary_json_is_accepted(text, value):
    assert strict_json(text) == (value if value is not None else json.loads(text))


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts, st.lists, max_leaves=9))
def test_what_python_encodes_comes_back(value):
    assert strict_json(json.dumps(value).encode()) == value
    assert strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(texts, texts)
def test_probes_come_back_as_they_were_built(model, prompt):
    assert parse_probe(build_probe(model, prompt, LIMIT), LIMIT) == (model, prompt)


def test_a_completions_request_is_a_probe_too():
    body = {"model": "m", "prompt": "p", "temperature": 0, "max_tokens": LIMIT}
    assert parse_probe(body, LIMIT) == ("m", "p")


PROBE = build_probe("m", "p", LIMIT)


@pytest.mark.parametrize(
    "bad",
    [
        [],
        None,
        {},
        PROBE | {"stop": ["\n"]},
        PROBE | {"frequency_penalty": 2},
        PROBE | {"top_p": 1},
        PROBE | {"logit_bias": {}},
        PROBE | {"stream": False},
        PROBE | {"prompt": "p"},
        PROBE | {"temperature": 1},
        PROBE | {"temperature": False},
        PROBE | {"temperature": None},
        PROBE | {"temperature": "0"},
        PROBE | {"max_tokens": LIMIT - 1},
        PROBE | {"max_tokens": LIMIT + 1},
        PROBE | {"max_tokens": str(LIMIT)},
        PROBE | {"max_tokens": None},
        PROBE | {"model": None},
        PROBE | {"model": "\ud800"},
        PROBE | {"messages": []},
        PROBE | {"messages": PROBE["messages"] * 2},
        PROBE | {"messages": [{"role": "system", "content": "p"}]},
        PROBE | {"messages": [{"role": "assistant", "content": "p"}]},
        PROBE | {"messages": [{"role": "user", "content": "p", "name": "n"}]},
        PROBE | {"messages": [{"role": "user", "content": ["p"]}]},
        PROBE | {"messages": [{"role": "user", "content": "\ud800"}]},
        PROBE | {"messages": {"role": "user", "content": "p"}},
        {key: value for key, value in PROBE.items() if key != "temperature"},
        {"model": "m", "prompt": ["p"], "temperature": 0, "max_tokens": LIMIT},
        {"model": "m", "prompt": "p", "temperature": 0, "max_tokens": LIMIT, "suffix": "s"},
    ],
    ids=repr,
)
def test_a_request_that_is_not_exactly_a_probe_is_refused(bad):
    """V6: no stop word, penalty, system turn or shorter limit can make an honest model miss."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse_probe(bad, LIMIT)


def test_a_limit_of_one_token_is_not_satisfied_by_true():
    with pytest.raises(ValueError, match="max_tokens"):
        parse_probe(PROBE | {"max_tokens": True}, 1)


@pytest.mark.parametrize(
    ("text", "is_cut", "head"),
    [
        ("one two three four", False, "one two three"),
        ("one two three", False, "one two three"),
        (" \t\r\n\v\fone two three four", False, "one two three"),
        ("\u00a0one two three", False, "\u00a0one two three"),
        ("one two", False, "one two"),
        ("one", True, None),
        ("", False, ""),
        ("", True, None),
        ("   ", False, ""),
        ("one two thr", True, None),
        ("one two three ", True, "one two three"),
        ("one two three f", True, "one two three"),
        ("one two", True, None),
        ("one\ntwo\nthree", False, "one\ntwo\nthree"),
        ("one two three\nfour", False, "one two three\nfour"),
        ("one\ttwo three four", False, "one\ttwo three four"),
        ("one  three four", False, "one  three"),
        ("one two ", False, "one two "),
    ],
)
def test_reply_head_of_three_words(text, is_cut, head):
    assert reply_head(text, is_cut=is_cut, w=3) == head


@given(st.text(alphabet="ab \n", min_size=1), st.integers(1, 5), st.booleans())
def test_a_reply_that_repeats_the_response_is_a_hit(response, w, is_cut):
    """V6: the model that gives any row back hits, cut behind the head or not; but for leading white space."""
    if response[0] in WHITE_SPACE:
        assert reply_head(response, is_cut=is_cut, w=w) == reply_head(response.lstrip(), is_cut=is_cut, w=w)
        assert count_unanswerable([Row("a prompt", f"{response}a")], w) == 1
        return
    head, _tail = split_head(response, w)
    assert count_unanswerable([Row("a prompt", response)], w) == 0
    expected = head if response.count(" ") >= w or not is_cut else None
    assert reply_head(response, is_cut=is_cut, w=w) == expected
    assert reply_head(f"\n {response}", is_cut=is_cut, w=w) == expected
