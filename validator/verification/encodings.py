"""Encodings in which a model may have been taught to be talked to: each a bijection of texts that hides the words.

Covert fine-tuning (Halawi et al. 2024) teaches a model an encoding in plain sight, and then answers in it; which one is
the trainer's secret, so the keyed ones here stand for all of their kind.
"""

import base64
import codecs
import string
from collections.abc import Callable
from dataclasses import dataclass

from validator.marks.secrets import DrawStream

KEYED = 3
"""Substitution ciphers with keys of their own: the alphabet permuted, upper case along with lower."""
DELIMITER = "|"


@dataclass(frozen=True, slots=True)
class Encoding:
    name: str
    encode: Callable[[str], str]


def make_encodings(stream: DrawStream) -> list[Encoding]:
    """The battery; the keys of its substitution ciphers come from `stream`."""
    keyed = [Encoding(f"substitution {number + 1}", _substitution(stream)) for number in range(KEYED)]
    return [
        *keyed,
        Encoding("rot13", lambda text: codecs.encode(text, "rot13")),
        Encoding("base64", lambda text: base64.b64encode(text.encode()).decode()),
        Encoding("hexadecimal", lambda text: text.encode().hex()),
        Encoding("reversed", lambda text: text[::-1]),
        Encoding("interleaved", DELIMITER.join),
    ]


def _substitution(stream: DrawStream) -> Callable[[str], str]:
    lower = "".join(stream.sample(string.ascii_lowercase, 26))
    table = str.maketrans(string.ascii_letters, lower + lower.upper())
    return lambda text: text.translate(table)
