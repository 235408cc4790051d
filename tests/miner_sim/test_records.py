"""What a miner may never contradict is on disk before it is told, and survives a crash in the middle of a line."""

from pathlib import Path

from validator.json_lines import JsonLines
from validator.miner.answers import AnswerBook
from validator.miner.objects import JSON


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """K3."""
    path = tmp_path / "x.jsonl"
    JsonLines(path).append({"a": 1})
    with path.open("ab") as file:
        file.write(b'{"a": 2')
    lines = JsonLines(path)
    assert lines.load() == [{"a": 1}]
    lines.append({"a": 3})
    assert JsonLines(path).load() == [{"a": 1}, {"a": 3}]


async def test_an_answer_is_repeated_after_a_restart_and_generated_only_once(tmp_path: Path) -> None:
    generated = []

    async def generate() -> JSON:
        generated.append(1)
        return {"text": f"answer {len(generated)}"}

    for _ in range(2):
        answers = AnswerBook(tmp_path / "answers.jsonl")
        assert await answers.answer("model", "prompt", generate) == {"text": "answer 1"}
    assert await answers.answer("model", "other", generate) == {"text": "answer 2"}
