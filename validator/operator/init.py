"""`touchstone validator init`: a directory with everything that a validator must have before it can be funded.

Rules kept: nothing is ever overwritten, and nothing is written where any of it is already; every file with a secret is
its owner's alone; what nobody has said about money, key or chain stays a gap that `check` points at. The text of the
configuration is made of the settings' own descriptions.
"""

import json
import os
import secrets
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from validator.edges.key_files import SEED_BYTES, create_keystore, create_private
from validator.edges.keys import CURVE_ORDER, LocalSigner, SecretBytes
from validator.errors import BadInput, first_problem
from validator.settings import Settings
from validator.types import Address

CONFIG, KEYSTORE, PASSWORD, SEED, STATE = "validator.toml", "keystore.json", "keystore-password", "master-seed", "state"
LINE_LENGTH = 100


@dataclass(frozen=True, slots=True)
class NewValidator:
    """What was made, and the address to fund."""

    directory: Path
    address: Address

    @property
    def config(self) -> Path:
        return self.directory / CONFIG


def create_validator(directory: Path, values: Mapping[str, Mapping[str, Any]]) -> NewValidator:
    """A new key, master seed and configuration with `values` by table; takes up to a second, for the keystore.

    BadInput if any of the files is there.
    """
    make_room(directory, (CONFIG, KEYSTORE, PASSWORD, SEED))
    check_values(Settings, values)
    address = create_key(directory / KEYSTORE, directory / PASSWORD)
    create_private(directory / SEED, os.urandom(SEED_BYTES).hex() + "\n")
    here = {
        "keys": {"keystore": KEYSTORE, "password_file": PASSWORD, "master_seed_file": SEED},
        "state": {"directory": STATE},
    }
    tables = {name: {**values.get(name, {}), **here.get(name, {})} for name in Settings.model_fields}
    # With the access keys of nodes in it, it is private too.
    create_private(directory / CONFIG, write_config(Settings, "validator", tables))
    return NewValidator(directory, address)


def make_room(directory: Path, names: Iterable[str]) -> None:
    """The directory, of this user alone; BadInput if a file with one of these names is in it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the directory {directory}: {error.strerror}") from error
    for name in names:
        if (directory / name).exists():
            raise BadInput(f"{directory / name} is there already: nothing was written, since a lost key is a lost node")


def create_key(keystore: Path, password_file: Path) -> Address:
    """A new key in a keystore with a new password; its address. Takes up to a second."""
    secret = SecretBytes((secrets.randbelow(CURVE_ORDER - 1) + 1).to_bytes(32, "big"))
    password = secrets.token_urlsafe(32)
    create_private(password_file, password + "\n")
    create_keystore(keystore, secret, SecretBytes(password.encode()))
    return LocalSigner(secret).address


def check_values(kind: type[BaseModel], values: Mapping[str, Mapping[str, Any]]) -> None:
    """BadInput for what the configuration would not take, before anything is written."""
    for name, given in values.items():
        try:
            _table(kind, name).model_validate({key: value for key, value in given.items() if value is not None})
        except ValidationError as error:
            mistakes = [mistake for mistake in error.errors() if mistake["type"] not in ("missing", "settings")]
            if mistakes:
                raise BadInput(f"{name}.{first_problem(mistakes)}") from None


def _table(kind: type[BaseModel], name: str) -> type[BaseModel]:
    return cast(type[BaseModel], kind.model_fields[name].annotation)


def write_config(kind: type[BaseModel], who: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """The annotated TOML of such settings: keys with a value as they are, others behind a #, with their default."""
    parts = [
        _comment(
            f"Configuration of a Touchstone {who}. `touchstone {who} check` says what is missing. The "
            "environment (TOUCHSTONE_<TABLE>__<KEY>) wins over this file; paths are relative to it."
        )
    ]
    for name in kind.model_fields:
        table = _table(kind, name)
        lines = [_comment((table.__doc__ or "").splitlines()[0]), f"[{name}]"]
        for key, described in table.model_fields.items():
            lines += ["", _comment(described.description or ""), _assign(key, described, tables.get(name, {}))]
        parts.append("\n".join(lines))
    return "\n\n\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, LINE_LENGTH, initial_indent="# ", subsequent_indent="# "))


def _assign(key: str, field: FieldInfo, values: Mapping[str, Any]) -> str:
    if values.get(key) is not None:
        return f"{key} = {_toml(values[key])}"
    if field.is_required():
        return f"# {key} =     (needed: nothing is assumed)"
    return f"# {key} =" if field.default is None else f"# {key} = {_toml(field.default)}"


def _toml(value: Any) -> str:
    """JSON's strings, numbers and lists of them are TOML's too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def next_steps(new: NewValidator) -> Iterator[str]:
    """What a person does now."""
    yield f"1. Back up {SEED}, {KEYSTORE} and {PASSWORD} of {new.directory}, not all in one place."
    yield "   Whoever loses the master seed loses the bonds of open tasks; whoever loses the key or its password loses"
    yield "   all that it holds. There is no other copy, and nobody who could restore them."
    yield f"2. Fill in what {new.config} still lacks."
    yield f"3. Send ether for gas and bonds to {new.address}."
    yield f"4. touchstone validator deposit ETHER --config {new.config}: the bonds of tasks are taken from this credit."
    yield f"5. touchstone validator check --config {new.config}"
