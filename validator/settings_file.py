"""From flags, the environment and a TOML file to `Settings`; and one line for whatever is wrong with them.

Rule kept: flags win over `TOUCHSTONE_<TABLE>__<KEY>` in the environment, the environment over the file, the file over
defaults. An error names file, line, key, and what would be right (O2, complaint 19); it quotes no value, which may be a
secret in the wrong place.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsError

from validator.errors import BadInput
from validator.settings import Settings

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

MAX_FILE_BYTES = 1 << 20
PREFIX, DELIMITER = "TOUCHSTONE_", "__"
_HEADER = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_-]+)\s*\]")


def load_settings(path: Path, flags: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """A validator's settings in a file; `flags` are tables of what was given beside it.

    BadInput with the first mistake.
    """
    return load_settings_of(Settings, path, flags)


def load_settings_of(
    kind: type[SettingsT], path: Path, flags: Mapping[str, Mapping[str, Any]] | None = None
) -> SettingsT:
    """As `load_settings`, for settings of any kind whose fields are tables."""
    text = _read(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        reason, line = found.groups() if found else (str(error), str(len(text.splitlines()) or 1))
        raise BadInput(f"{path}, line {line}: this is no TOML: {reason}") from None
    _check_environment(kind)

    class FromFile(kind):  # type: ignore[valid-type, misc]  # pydantic-settings takes its sources from a class
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - neither is read
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file = InitSettingsSource(settings_cls, init_kwargs=_beside(kind, path, tables))
            return init_settings, env_settings, file

    try:
        return cast(SettingsT, FromFile(**cast(dict[str, Any], flags or {})))
    except ValidationError as error:
        # A name that nobody knows first: it is why another is missing.
        mistakes = sorted(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
        raise BadInput(_describe(kind, path, text, mistakes[0], len(mistakes) - 1)) from None
    except SettingsError as error:
        raise BadInput(f"the environment: {error}: tables and lists are given as JSON") from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise BadInput(f"{path} is longer than {MAX_FILE_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise BadInput(
            f"cannot read {path}: {error.strerror}; `touchstone validator init`, or `miner init`, writes a new one"
        ) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}, line {line}: this is not UTF-8") from None


def _beside(kind: type[BaseModel], path: Path, tables: dict[str, Any]) -> dict[str, Any]:
    """The tables, with relative paths taken from where the file is, not from where somebody calls."""
    resolved = dict(tables)
    for name, values in tables.items():
        table = _table(kind, name)
        if table is None or not isinstance(values, dict):
            continue
        paths = {key for key, field in table.model_fields.items() if Path in _alternatives(field.annotation)}
        resolved[name] = {
            key: _resolve(value, path.parent.absolute()) if key in paths else value for key, value in values.items()
        }
    return resolved


def _resolve(value: Any, directory: Path) -> Any:
    """A path, or each of a table of them; whatever else it is, somebody else will say so."""
    if isinstance(value, dict):
        return {name: _resolve(place, directory) for name, place in value.items()}
    return directory / Path(value).expanduser() if isinstance(value, str) else value


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,))


def _table(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = kind.model_fields.get(name)
    return None if field is None else cast(type[BaseModel], field.annotation)


def _check_environment(kind: type[BaseModel]) -> None:
    """A variable with a typo would be passed over in silence."""
    for variable in os.environ:
        table_name, delimiter, key = variable.removeprefix(PREFIX).lower().partition(DELIMITER)
        if not variable.startswith(PREFIX) or not delimiter:
            continue
        table = _table(kind, table_name)
        if table is None:
            raise BadInput(f"the environment, {variable}: there is no table {table_name}{_nearest(table_name, kind)}")
        if key not in table.model_fields:
            raise BadInput(f"the environment, {variable}: {table_name} has no key {key}{_nearest(key, table)}")
        if get_origin(table.model_fields[key].annotation) is tuple and not os.environ[variable].startswith("["):
            raise BadInput(f'the environment, {variable}: this takes a list as JSON, such as ["one", "two"]')


def _describe(kind: type[BaseModel], path: Path, text: str, mistake: Mapping[str, Any], others: int) -> str:
    place = [name if (name := str(part)).isprintable() else ascii(name) for part in mistake["loc"]]
    place = mistake.get("ctx", {}).get("key", "").split(".") if mistake["type"] == "settings" else place
    names, table = place[:2], _table(kind, place[0])
    key = ".".join(names) + "".join(f"[{part}]" for part in place[2:] if part.isdigit())
    match mistake["type"], len(names):
        case "missing", 1:
            reason = f"the table [{key}] is missing: {(table.__doc__ or '').splitlines()[0] if table else ''}"
        case "missing", _:
            description = table.model_fields[names[1]].description if table else ""
            reason = f"{key} is missing: {description}"
        case "extra_forbidden", 1:
            reason = f"there is no table or key {key}{_nearest(key, kind)}"
        case "extra_forbidden", _:
            reason = f"[{names[0]}] has no key {names[1]}{_nearest(names[1], table or kind)}"
        case "tuple_type", _:
            reason = f"{key}: this takes a list in square brackets"
        case "model_type" | "dict_type", 1:
            reason = f"{key} is a table: write [{key}], and its keys below"
        case "dict_type", _:
            reason = f"{key}: this is a table: write {{ name = value }}"
        case _:
            reason = f"{key}: {str(mistake['msg']).removeprefix('Value error, ')}"
    more = f" (and {others} more)" if others else ""
    variable = PREFIX + DELIMITER.join(names).upper()
    if variable in os.environ:
        return f"the environment, {variable}: {reason}{more}"
    return f"{path}, line {_line_of(text, names)}: {reason}{more}"


def _nearest(name: str, table: type[BaseModel]) -> str:
    near = get_close_matches(name, table.model_fields, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(table.model_fields)}"


def _line_of(text: str, names: Sequence[str]) -> int:
    """Where a key stands; else where its table begins; else the last line, after which it belongs."""
    lines = text.splitlines() or [""]
    table, begins_at = None, None
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            table = header.group(1)
            begins_at = number if table == names[0] else begins_at
        inside = names[1:] if table == names[0] else names
        if inside and re.match(r"\s*" + r"\s*\.\s*".join(map(re.escape, inside)) + r"\s*[=.]", line):
            return number
    return begins_at or len(lines)
