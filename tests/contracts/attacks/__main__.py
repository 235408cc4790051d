"""Write the generated part of `docs/threat-model.md`."""

from tests.contracts.attacks.document import DOCUMENT, with_generated

DOCUMENT.write_text(with_generated(DOCUMENT.read_text("utf-8")), "utf-8")
