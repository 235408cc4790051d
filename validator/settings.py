"""What an operator chooses for a daemon, as one frozen value: tables, keys, units, limits and defaults.

Rules kept: whatever touches money, keys or the chain has no default; a key that nobody knows is an error (O2); nothing
here lowers what a profile promises, so there is no key for finality or floors (O7); a URL, which may hold an access
key, shows its host alone. The descriptions are what `touchstone validator init` writes beside the keys.
Where the values come from, and what is said of a wrong one: `settings_file.py`.
"""

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from eth_utils.address import is_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Secret, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from validator.config import DEV_CHAIN_IDS, MIN_COVERAGE_BPS, PROFILES, Profile
from validator.types import Address

MAX_CHAIN_ID = 2**53
MAX_WEI = 2**96 - 1
MAX_BLOCK = 2**53
GIB = 1 << 30


class SecretUrl(Secret[str]):
    """A URL, or the path of a database, that shows neither path, query nor password; `get_secret_value()` has all."""

    def _display(self) -> str:
        parts = urlsplit(self.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.scheme else self.get_secret_value()


def wrong(key: str, reason: str) -> PydanticCustomError:
    """An error that belongs to a key of another table, or to one of several keys together."""
    return PydanticCustomError("settings", "{reason}", {"key": key, "reason": reason})


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise ValueError("this takes a whole number")
    return value


def _parse_address(text: str) -> Address:
    if not is_address(text) or (to_checksum_address(text) != text and text[2:] != text[2:].lower()):
        raise ValueError("this takes an address: 0x, 40 hex digits, and the right capitals if there are any (EIP-55)")
    return Address(to_checksum_address(text))


def _check_http_url(url: SecretUrl) -> SecretUrl:
    try:
        parts = urlsplit(url.get_secret_value())
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError("this takes a URL such as https://host/path or http://127.0.0.1:8545")
    return url


def _check_listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 <= int(port) < 1 << 16:
        raise ValueError("this takes host:port, such as 127.0.0.1:9879")
    return text


def _check_model(text: str) -> str:
    if not text.strip():
        raise ValueError('this takes a directory, the id of a Hugging Face model, or "embedded"')
    return text


Integer = Annotated[int, BeforeValidator(_no_bool)]
AddressText = Annotated[Address, AfterValidator(_parse_address)]
HttpUrl = Annotated[SecretUrl, AfterValidator(_check_http_url)]
ListenText = Annotated[str, AfterValidator(_check_listen)]


class Table(BaseModel):
    """A table of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NetworkSettings(Table):
    """The chain, and the contract on it."""

    profile: Literal["production", "dev"] = Field(
        description="production has the protocol's floors; dev has none, and is for development chains."
    )
    chain_id: Integer = Field(ge=1, le=MAX_CHAIN_ID, description="The chain that the nodes must be on.")
    contract: AddressText = Field(description="Address of the Touchstone contract.")
    rpc_urls: tuple[HttpUrl, ...] = Field(
        min_length=1,
        max_length=8,
        description="Nodes of the chain. production needs two that do not depend on each other: money moves only where "
        "two of them agree.",
    )
    first_block: Integer = Field(ge=0, le=MAX_BLOCK, description="The block of the contract's deployment.")


class SignerSettings(Table):
    """The key that signs. Exactly one of keystore, key_file and remote_signer; passwords and keys are never in here."""

    table: ClassVar[str] = "keys"
    """What a configuration calls it."""

    keystore: Path | None = Field(
        default=None, description="A Web3 Secret Storage (V3) file, or a directory that holds one."
    )
    password_file: Path | None = Field(default=None, description="Holds the keystore's password; mode 0600.")
    password_credential: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Instead of password_file: the name of a systemd credential (LoadCredential=).",
    )
    key_file: Path | None = Field(default=None, description="A bare key, 64 hex digits; dev profile only.")
    remote_signer: HttpUrl | None = Field(
        default=None, description="A program that holds the key: Web3Signer, clef, or a node with eth_signTypedData_v4."
    )
    address: AddressText | None = Field(default=None, description="The key's address; needed with remote_signer.")

    @model_validator(mode="after")
    def _check_one_key(self) -> Self:
        given = [name for name in ("keystore", "key_file", "remote_signer") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise wrong(self.table, f"exactly one of keystore, key_file and remote_signer is needed, not {found}")
        passwords = [name for name in ("password_file", "password_credential") if getattr(self, name) is not None]
        if given == ["keystore"] and len(passwords) != 1:
            raise wrong(f"{self.table}.keystore", "a keystore needs password_file or password_credential, one of them")
        if given != ["keystore"] and passwords:
            raise wrong(f"{self.table}.{passwords[0]}", "a password is for a keystore, and there is none")
        if self.remote_signer is not None and self.address is None:
            raise wrong(f"{self.table}.remote_signer", "a remote signer needs the address of its key under address")
        return self


class KeySettings(SignerSettings):
    """The key that signs. Exactly one of keystore, key_file and remote_signer; passwords and keys are never in here."""

    master_seed_file: Path = Field(
        description="64 hex digits, mode 0600: the secrets of all tasks are derived from it. Lost, open tasks are lost."
    )
    cold_address: AddressText | None = Field(
        default=None,
        description="Where `touchstone validator sweep` sends credit that tasks do not need. Its key belongs on "
        "another machine: whoever takes the key above can then take no more than is at work.",
    )


class StateSettings(Table):
    """What the daemon keeps. A copy of an old state must never run (`touchstone validator backup`)."""

    directory: Path = Field(description="On a local disk; of this user alone, mode 0700.")
    journal: SecretUrl | None = Field(
        default=None,
        description="The database: a path, or a postgresql:// URL; journal.sqlite in the directory if absent.",
    )

    @property
    def journal_place(self) -> Path | str:
        """As `Journal` takes it."""
        if self.journal is None:
            return self.directory / "journal.sqlite"
        place = self.journal.get_secret_value()
        return place if "://" in place else self.directory / place


class GeneratorSettings(Table):
    """The language model that the words of marks are drawn with."""

    model: Annotated[str, AfterValidator(_check_model)] | None = Field(
        default=None,
        description='A directory, the id of a Hugging Face model, or "embedded" for the small one that is shipped. '
        "Needed for every scheme but canary-openings; without it no PyTorch is needed to plant.",
    )
    openings_url: HttpUrl | None = Field(
        default=None,
        description="An OpenAI-compatible server, to /v1, whose model writes openings for the scheme canary-openings. "
        "It is shown the rows that are marked.",
    )
    openings_model: str | None = Field(default=None, min_length=1, description="That model's name; needed with it.")
    openings_key_file: Path | None = Field(
        default=None, description="Holds the API key for it, if it needs one; mode 0600."
    )

    @model_validator(mode="after")
    def _check_openings(self) -> Self:
        if self.model is None and self.openings_url is None:
            raise wrong("generator.model", "a language model is needed, or openings_url for the scheme canary-openings")
        if (self.openings_url is None) != (self.openings_model is None):
            raise wrong("generator.openings_url", "openings_url and openings_model belong together")
        if self.openings_url is None and self.openings_key_file is not None:
            raise wrong("generator.openings_key_file", "a key is for openings_url, and there is none")
        return self

    @property
    def path(self) -> str | None:
        """The model as `language_model.load` takes it."""
        return str(files("validator.base_model")) if self.model == "embedded" else self.model


class ModelWorkSettings(Table):
    """Where models run: planting, probing of returned weights."""

    mode: Literal["children", "ray"] = Field(default="children", description="Processes here, or a Ray cluster.")
    processes: Integer = Field(default=1, ge=1, le=64, description="How many jobs at a time.")
    ray_address: str | None = Field(default=None, min_length=1, description="With mode ray: the cluster's address.")
    openai_url: HttpUrl | None = Field(
        default=None, description="A server such as vLLM that loads returned adapters; without it they run as above."
    )
    base_models: dict[str, Path] = Field(
        default={},
        description="Directories of the base models that customers name and may have returned, by name; a name that is "
        "not listed is the id of a Hugging Face model.",
    )
    memory_bytes: Integer = Field(
        default=16 * GIB, ge=GIB, le=1 << 44, description="What one job on returned weights may take, at most."
    )
    wall_seconds: Integer = Field(default=900, ge=10, le=86_400, description="How long such a job may run.")

    @model_validator(mode="after")
    def _check_ray(self) -> Self:
        if (self.mode == "ray") != (self.ray_address is not None):
            raise wrong("model_work.mode", 'mode "ray" and ray_address belong together')
        return self


class TaskSettings(Table):
    """Which tasks are taken, and how many at once."""

    in_flight: Integer = Field(default=8, ge=1, le=1_000, description="Tasks at once; each locks a bond.")
    per_miner: Integer = Field(default=1, ge=1, le=100, description="Tasks at once with one miner.")
    scheme: (
        Literal["canary", "canary+coverage", "canary-openings", "backdoor", "backdoor-groups", "backdoor-synonyms"]
        | None
    ) = Field(
        default=None,
        description="How marks are hidden where a customer does not say; if absent, canary, with coverage where "
        "weights are returned.",
    )
    probes: Integer = Field(
        default=64, ge=16, le=64, description="Marked rows where a customer does not say; under 64 nobody is slashed."
    )
    min_coverage_bps: Integer = Field(
        default=MIN_COVERAGE_BPS,
        ge=0,
        le=10_000,
        description="Hundredths of a per cent of the rows that judged weights must be shown to be trained on, at 95% "
        "confidence. Needs an honest reference of the spec: `touchstone validator calibrate`.",
    )
    min_reward_wei: Integer = Field(
        ge=1,
        le=MAX_WEI,
        description="The least reward of a task that is taken; the fee is a twentieth of the reward, and must pay for "
        "gas (`touchstone validator check` says what it is now).",
    )


class DatasetSettings(Table):
    """How long and how much is kept of customers' data."""

    keep_days: Integer = Field(default=30, ge=0, le=3_650, description="After the last task of a dataset has ended.")
    max_bytes: Integer = Field(default=10 * GIB, ge=1 << 20, le=1 << 50, description="Of all datasets together.")


class HttpSettings(Table):
    """Health, metrics and evidence bundles for whoever may reach it."""

    listen: ListenText = Field(default="127.0.0.1:9879", description="host:port.")

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class LogSettings(Table):
    """On standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is shown.")
    format: Literal["json", "console"] = Field(default="json", description="For machines, or for people.")


class MinerSettings(Table):
    """Whom the daemon works with, and where it goes."""

    ports: tuple[Annotated[Integer, Field(ge=1, le=65_535)], ...] = Field(
        default=(443,), min_length=1, max_length=32, description="Where a miner's server may be."
    )
    deny: tuple[AddressText, ...] = Field(default=(), max_length=10_000, description="Miners that get no task.")


class Settings(BaseSettings):
    """The whole configuration; `settings_file.load_settings` makes one."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix="TOUCHSTONE_",
        env_nested_delimiter="__",
    )

    network: NetworkSettings
    keys: KeySettings
    state: StateSettings
    generator: GeneratorSettings
    tasks: TaskSettings
    model_work: ModelWorkSettings = ModelWorkSettings()
    datasets: DatasetSettings = DatasetSettings()
    miners: MinerSettings = MinerSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @property
    def profile(self) -> Profile:
        """The profile, with the operator's choice of ports."""
        return replace(PROFILES[self.network.profile], miner_ports=frozenset(self.miners.ports))

    @model_validator(mode="after")
    def _check_scheme(self) -> Self:
        if self.tasks.scheme == "canary-openings" and self.generator.openings_url is None:
            raise wrong("tasks.scheme", "canary-openings needs generator.openings_url, a server that proposes them")
        if self.tasks.scheme != "canary-openings" and self.generator.model is None:
            raise wrong("generator.model", "a language model is needed, or the scheme canary-openings")
        return self

    @model_validator(mode="after")
    def _check_profile(self) -> Self:
        network = self.network
        is_dev_chain = network.chain_id in DEV_CHAIN_IDS
        if network.profile == "dev":
            if not is_dev_chain:
                chains = ", ".join(map(str, sorted(DEV_CHAIN_IDS)))
                raise wrong("network.profile", f"dev is for the chain ids {chains}: take production")
            return self
        if len({url.get_secret_value() for url in network.rpc_urls}) < 2:
            raise wrong("network.rpc_urls", "production needs the URLs of two nodes, which check each other")
        if self.keys.key_file is not None:
            raise wrong("keys.key_file", "a bare key is for the dev profile: take a keystore or a remote signer")
        return self
