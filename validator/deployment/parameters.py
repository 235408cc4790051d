"""What a network is deployed with: from a profile or a file, checked before it can cost anything.

Rule kept: floors under the protocol's are for development chains alone (protocol, "Defaults"), because nobody can
change them afterwards.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated

from eth_utils.address import to_checksum_address
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from validator.config import DAY_S, HOUR_S, PRODUCTION, PROFILES
from validator.edges.contract import MAX_SECONDS, Network
from validator.errors import BadInput, first_problem
from validator.protocol.wire import strict_json
from validator.types import Address, Hash32

NOBODY = Address("0x" + "00" * 20)
_UNITS = ((DAY_S, "day"), (HOUR_S, "hour"), (60, "minute"), (1, "second"))


def _checksum(text: str) -> str:
    """The address as EIP-55 writes it; ValueError if it is none, or has letters of both cases and not those."""
    if re.fullmatch("0x[0-9a-fA-F]{40}", text):
        address = str(to_checksum_address(text))
        if text[2:] in (address[2:], address[2:].lower(), address[2:].upper()):
            return address
    raise ValueError(f"{text!r} is no address: 0x and 40 hex digits, with a right checksum or none")


Seconds = Annotated[int, Field(ge=0, le=MAX_SECONDS)]
CheckedAddress = Annotated[str, AfterValidator(_checksum)]


class Parameters(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The contract's `Network` as a file holds it: the same names, durations in seconds."""

    min_accept_seconds: Seconds
    min_train_seconds: Seconds
    min_submitted_seconds: Seconds
    min_challenged_seconds: Seconds
    min_answered_seconds: Seconds
    min_judging_seconds: Seconds
    min_dispute_seconds: Seconds
    unstake_delay_seconds: Seconds
    guardian: CheckedAddress | None = None

    def to_network(self, guardian: Address) -> Network:
        """The contract's constructor values; `guardian` where none is named here."""
        return Network(**(self.model_dump() | {"guardian": self.guardian or guardian}))


def parse_address(text: str) -> Address:
    """An address in its checksummed form; BadInput if it is none."""
    try:
        return Address(_checksum(text))
    except ValueError as error:
        raise BadInput(str(error)) from None


def parse_hash(text: str) -> Hash32:
    """A transaction's hash; BadInput if it is none."""
    if not re.fullmatch("(0x)?[0-9a-fA-F]{64}", text):
        raise BadInput(f"{text!r} is no transaction hash: 0x and 64 hex digits")
    return Hash32(bytes.fromhex(text.removeprefix("0x")))


def choose_network(profile: str, file: Path | None, *, guardian: Address, is_dev_chain: bool) -> Network:
    """What to deploy with: the file's parameters, else the profile's; `guardian` where the file names none.

    BadInput for an unknown profile, a file that is not exactly `Parameters`, or floors that this chain must not have.
    """
    if profile not in PROFILES:
        raise BadInput(f"unknown profile {profile!r}: it is {' or '.join(PROFILES)}")
    network = Network.of_profile(PROFILES[profile], guardian)
    if file is not None:
        network = _load_parameters(file).to_network(guardian)
    if not is_dev_chain:
        production = Network.of_profile(PRODUCTION, guardian)
        for name, seconds, floor in zip(Network._fields[:-1], network[:-1], production[:-1], strict=True):
            if seconds < floor:
                raise BadInput(
                    f"{name} is {describe_seconds(seconds)}, less than the protocol's {describe_seconds(floor)}: "
                    "that is for development chains only"
                )
    return network


def _load_parameters(path: Path) -> Parameters:
    try:
        data = path.read_bytes()
        return Parameters.model_validate(tomllib.loads(data.decode()) if path.suffix == ".toml" else strict_json(data))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise BadInput(f"{path}: {first_problem(error.errors())}") from None
    except ValueError as error:
        raise BadInput(f"{path} is neither TOML (whose name ends in .toml) nor JSON: {error}") from None


def describe_seconds(seconds: int) -> str:
    """A duration for people, and exact: "7 days", "1 hour 30 minutes"."""
    parts = []
    for unit, name in _UNITS:
        count, seconds = divmod(seconds, unit)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    return " ".join(parts) or "none"


def describe_network(network: Network) -> list[tuple[str, str]]:
    """Each parameter's name, and its value for people."""
    rows = [
        (name.removesuffix("_seconds").replace("_", " "), describe_seconds(seconds))
        for name, seconds in zip(Network._fields[:-1], network[:-1], strict=True)
    ]
    return [*rows, ("guardian", "nobody" if network.guardian == NOBODY else network.guardian)]


def describe_wei(amount_wei: int) -> str:
    return f"{amount_wei / 10**18:.6g} ETH"
