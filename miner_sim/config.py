"""The one JSON line on stdin that says which miners to simulate.

Rule kept: private keys come in here and nowhere else, never on a command line, and never leave in an error message.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from validator.errors import BadInput

PrivateKey = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$", repr=False)]
_STRICT = ConfigDict(extra="forbid", frozen=True)


class MinerConfig(BaseModel):
    model_config = _STRICT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
    """Also the name of its directory under `home`."""
    strategy: str
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: any free port."""
    tls: bool = True
    """False: plain HTTP, for tools that cannot pin a key; validators of the `dev` profile accept it on loopback."""
    private_key: PrivateKey
    evidence_key: PrivateKey
    seed: int
    stake_wei: Annotated[int, Field(ge=0, le=2**96 - 1)]


class FleetConfig(BaseModel):
    model_config = _STRICT

    rpc_url: str
    contract: str
    home: Path
    base_model: str
    """A model directory or a Hugging Face id."""
    base_model_name: str | None = None
    """What the base model is called on the wire and in specs; None: the directory's name, or the id."""
    training_workers: Annotated[int, Field(ge=1, le=64)] = 2
    strategies: list[Path] = []
    """Python files with strategies that are not in this package."""
    tells_work: bool = False
    """Whether a line on stdout says when the first piece of work begins, and when the last has ended."""
    miners: Annotated[list[MinerConfig], Field(min_length=1)]

    @property
    def served_base_model(self) -> str:
        if self.base_model_name is not None:
            return self.base_model_name
        directory = Path(self.base_model)
        return directory.name if directory.is_dir() else self.base_model


def parse_config(line: bytes) -> FleetConfig:
    """Read the configuration; BadInput with one line that says what is wrong."""
    try:
        config = FleetConfig.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"configuration: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    names = [miner.name for miner in config.miners]
    if len(set(names)) != len(names):
        raise BadInput("configuration: two miners have the same name")
    return config
