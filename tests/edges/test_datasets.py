"""Datasets in: three forms of rows, and one clear line with the number of the row for anything else (D1)."""

import json

import pytest

from validator.edges.datasets import MAX_LINE_BYTES, choose_rows, load_rows
from validator.errors import BadInput
from validator.protocol.commitment import Row

GOOD = '{"prompt":"p","response":"r"}'


@pytest.fixture
def write(tmp_path):
    def write(*lines: str | bytes, end: bytes = b"\n"):
        path = tmp_path / "data.jsonl"
        path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + end)
        return path

    return write


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (GOOD, Row("p", "r")),
        ('{"prompt":"p","response":"r","id":7,"tags":["x"]}', Row("p", "r")),
        ('{"messages":[{"role":"user","content":"p"},{"role":"assistant","content":"r"}]}', Row("p", "r")),
        ('{"instruction":"i","output":"o"}', Row("i", "o")),
        ('{"instruction":"i","input":"","output":"o"}', Row("i", "o")),
        ('{"instruction":"i","input":null,"output":"o"}', Row("i", "o")),
        ('{"instruction":"i","input":"more","output":"o"}', Row("i\n\nmore", "o")),
        ('{"prompt":" kept ","response":"\\tkept\\n"}', Row(" kept ", "\tkept\n")),
        ('{"prompt":"\\ud83d\\ude00","response":"日本"}', Row("😀", "日本")),
    ],
)
def test_the_three_forms_of_rows_are_read_and_nothing_is_changed(write, line, row):
    assert load_rows(write(line)) == [row]


def test_forms_may_be_mixed_and_the_last_line_needs_no_end(write):
    path = write(GOOD, '{"instruction":"i","output":"o"}', end=b"")
    assert load_rows(path) == [Row("p", "r"), Row("i", "o")]


def test_lines_end_at_the_newline_byte_alone(write):
    text = "one\u2028two\u2029three\u0085four\x0bfive\x0csix"
    line = json.dumps({"prompt": text, "response": text}, ensure_ascii=False).encode()
    assert load_rows(write(line, GOOD)) == [Row(text, text), Row("p", "r")]


def test_carriage_returns_before_the_newline_are_not_text(write):
    assert load_rows(write(GOOD + "\r", GOOD + "\r")) == [Row("p", "r")] * 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "not valid JSON"),
        ("   ", "not valid JSON"),
        ("{", "not valid JSON"),
        (GOOD + ",", "not valid JSON"),
        (GOOD + GOOD, "not valid JSON"),
        ("['p', 'r']", "not valid JSON"),
        (b"\xff\xfe", "not valid UTF-8"),
        (b'{"prompt":"caf\xe9","response":"r"}', "not valid UTF-8"),
        ("\ufeff" + GOOD, "BOM"),
        ("[" * 100_000, "nested too deeply"),
        ('{"prompt":"p","prompt":"q","response":"r"}', "a key stands twice"),
        ('{"prompt":"p","response":NaN}', "NaN is not JSON"),
        ('{"prompt":"\\ud800","response":"r"}', "lone surrogate"),
        ('{"prompt":"p","response":"\\udc00 x"}', "lone surrogate"),
        ("[]", "a row is a JSON object"),
        ('"text"', "a row is a JSON object"),
        ("null", "a row is a JSON object"),
        ("{}", "the row has no prompt"),
        ('{"prompt":"p"}', "the row has no response"),
        ('{"response":"r"}', "the row has no prompt"),
        ('{"prompt":"p","response":""}', "the row has no response"),
        ('{"prompt":"p","response":" \\n\\t"}', "the row has no response"),
        ('{"prompt":"p","response":null}', "the row has no response"),
        ('{"prompt":"p","response":["r"]}', "the row has no response"),
        ('{"prompt":7,"response":"r"}', "the row has no prompt"),
        ('{"instruction":"i"}', "the row has no response"),
        ('{"instruction":null,"output":"o"}', "the row has no prompt"),
        ('{"instruction":null,"input":"x","output":"o"}', "the row has no prompt"),
        ('{"instruction":"i","input":{"a":1},"output":"o"}', "input is not text"),
        ('{"messages":"p"}', "messages is not a list"),
        ('{"messages":["p","r"]}', "messages is not a list of objects"),
        ('{"messages":[]}', "exactly one user and one assistant"),
        ('{"messages":[{"role":"user","content":"p"}]}', "exactly one user and one assistant"),
        (
            '{"messages":[{"role":"system","content":""},{"role":"user","content":"p"},{"role":"assistant","content":"r"}]}',
            "exactly one user and one assistant",
        ),
        ('{"messages":[{"role":"assistant","content":"r"},{"role":"user","content":"p"}]}', "exactly one user"),
        ('{"messages":[{"role":"user","content":"p"},{"role":"assistant"}]}', "the row has no response"),
        ('{"prompt":"p","response":"' + "r" * MAX_LINE_BYTES + '"}', "longer than"),
    ],
    ids=lambda value: repr(value[:40]),
)
def test_a_bad_row_is_refused_with_file_line_and_reason(write, line, why):
    """D1."""
    path = write(GOOD, GOOD, line, GOOD)
    with pytest.raises(BadInput) as refused:
        load_rows(path)
    message = str(refused.value)
    assert message.startswith(f"{path}, line 3: ")
    assert why in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\r\n"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"empty\.jsonl is empty"):
        load_rows(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*nowhere\.jsonl: No such file"):
        load_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(BadInput, match=r"cannot read .*: Is a directory"):
        load_rows(tmp_path)


ROWS = [Row(str(i), "r") for i in range(50)]


def test_chosen_rows_are_in_file_order_and_the_same_for_one_seed():
    chosen = choose_rows(ROWS, 20, seed=1)
    assert chosen == choose_rows(ROWS, 20, seed=1) != choose_rows(ROWS, 20, seed=2)
    assert [row for row in ROWS if row in chosen] == chosen
    assert len(chosen) == 20


def test_all_rows_are_taken_where_no_number_is_asked_for():
    assert choose_rows(ROWS, None, seed=1) == choose_rows(ROWS, 50, seed=1) == ROWS


def test_more_rows_than_there_are_cannot_be_had():
    with pytest.raises(BadInput, match="has 50 rows, 51 were asked for"):
        choose_rows(ROWS, 51, seed=1)
