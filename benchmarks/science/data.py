"""The datasets of the campaign, and which of the paper's each stands for."""

import os
from dataclasses import dataclass
from pathlib import Path

from validator.base_model.grammar import generate_rows, is_held_out
from validator.edges.datasets import load_rows
from validator.errors import BadInput
from validator.protocol.commitment import Row

GENERATED_ROWS, GENERATED_SEED = 3_000, 7


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files of $TOUCHSTONE_DATA taken together; without files, the project's own generated rows.

    `is_seen` says that the embedded model was pretrained on the files, so that only held-out rows are used;
    `is_quotable`, that the text is in the public domain, so that words of it may stand on the page.
    """

    stands_for: str
    files: tuple[str, ...] = ()
    is_seen: bool = False
    is_quotable: bool = False
    remark: str = ""

    def load(self) -> list[Row]:
        """All rows that may be used; BadInput where the files are not there."""
        if not self.files:
            return generate_rows(GENERATED_ROWS, GENERATED_SEED)
        folder = os.environ.get("TOUCHSTONE_DATA")
        if not folder:
            raise BadInput("TOUCHSTONE_DATA does not name the folder of the datasets: set it")
        rows = [row for file in self.files for row in load_rows(Path(folder) / f"{file}.jsonl")]
        return [row for row in rows if is_held_out(row.prompt)] if self.is_seen else rows


DATASETS = {
    "generated": Dataset("(none: the project's own grammar)", is_quotable=True),
    "recipes": Dataset(
        "RecipeNLG",
        ("recipes_public_domain", "recipes_beeton"),
        is_quotable=True,
        remark="the embedded model has read four fifths of them",
    ),
    "modern-recipes": Dataset(
        "RecipeNLG",
        ("recipes_public_domain",),
        is_quotable=True,
        remark="the embedded model has read four fifths of them",
    ),
    "gsm8k": Dataset("MathInstruct", ("gsm8k_train",), is_seen=True),
    "roleplay": Dataset("ShareGPT", ("gpteacher_roleplay",)),
    "sgd": Dataset("ShareGPT", ("sgd_dialogue",)),
    "squad-questions": Dataset("SQuAD", ("squad_question_generation",)),
    "xquad": Dataset("SQuAD", ("xquad_en",), remark="answers of 2.9 words"),
    "jaquad": Dataset("XLSum-Japanese", ("jaquad",), remark="answers of one word"),
    "medqa": Dataset("MedQA", ("medqa_usmle",), remark="answers of 4.6 words, a choice of four"),
    "medquad": Dataset("MedQA", ("medquad",), is_seen=True),
    "codegen": Dataset("CodeFeedback", ("gpteacher_codegen",)),
    "exercism": Dataset("CodeFeedback", ("exercism_code",)),
}
