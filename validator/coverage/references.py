"""Where honest references lie: those that come with the base model, and those of an operator's own calibrations."""

from importlib.resources import files
from pathlib import Path

from validator.coverage.reference import Reference, load_reference, save_reference
from validator.protocol.commitment import hash_spec

SHIPPED = Path(str(files("validator.base_model"))) / "references"


class References:
    """The references in some directories, by training spec. What was kept last for a spec is in force."""

    def __init__(self, *directories: Path) -> None:
        self._directories = (SHIPPED, *directories)

    def find(self, spec: str) -> Reference | None:
        """The reference of exactly this spec (its JSON, which names the base model), if there is one."""
        paths = [directory / _name(spec) for directory in reversed(self._directories)]
        return next((load_reference(path) for path in paths if path.exists()), None)

    def keep(self, reference: Reference) -> Path:
        """Put it into the last directory, in place of an earlier one of its spec."""
        self._directories[-1].mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directories[-1] / _name(reference.spec)
        save_reference(reference, path)
        return path


def _name(spec: str) -> str:
    return f"{hash_spec(spec).hex()}.json"
