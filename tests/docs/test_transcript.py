"""docs/ten-minutes.md is what the quickstart says today."""

import re

from tests.docs.pages import ROOT, commands
from tests.docs.transcript import PAGE, first_hour


def test_what_was_typed_is_what_the_quickstart_has() -> None:
    """`python -m tests.docs.transcript` types it anew, where this fails."""
    typed = [command.text for command in commands(str(PAGE.relative_to(ROOT)))]
    assert [re.sub(r"devnet fund 0x[0-9a-fA-F]{40}", "devnet fund 0xADDRESS", line) for line in typed] == [
        command.text for command in first_hour()
    ]


def test_it_is_a_transcript_of_success_and_names_no_machine() -> None:
    text = PAGE.read_text()
    assert "health    ready" in text
    assert '"event": "ready"' in text
    assert not re.search(r"error:|Traceback|WRONG|/(tmp|root|work|home)/", text)
