"""What a miner's operator chooses for `touchstone miner run`: tables, keys, units, limits and defaults.

Rules kept: those of `validator/settings.py`; a command is a list of words, never a line for a shell; a placeholder that
nobody knows is an error before the command is ever run.
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from validator.config import DEV_CHAIN_IDS, PROFILES, Profile
from validator.settings import (
    MAX_CHAIN_ID,
    MAX_WEI,
    AddressText,
    HttpSettings,
    HttpUrl,
    Integer,
    ListenText,
    LogSettings,
    SignerSettings,
    Table,
    wrong,
)

DAY_S = 86_400
PLACEHOLDERS = frozenset({"dataset", "output", "spec", "task", "base_model", "progress", "seconds", "name"})
"""What words of a command may name in braces; docs/miner.md says what each is."""
NAME = "{name}"
_IN_BRACES = re.compile(r"\{([a-z_]+)\}")


def _check_command(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        for name in _IN_BRACES.findall(word):
            if name not in PLACEHOLDERS:
                raise ValueError(f"there is no {{{name}}}; there are {', '.join(sorted(PLACEHOLDERS))}")
    return words


Command = Annotated[tuple[str, ...], Field(min_length=1, max_length=100), AfterValidator(_check_command)]


def fill(command: Command, values: dict[str, str]) -> list[str]:
    """The words of a command with what their placeholders stand for."""
    return [_IN_BRACES.sub(lambda found: values[found.group(1)], word) for word in command]


class MinerNetworkSettings(Table):
    """The chain, and the contract on it."""

    profile: Literal["production", "dev"] = Field(
        description="production, or dev for development chains: plain HTTP, loopback and bare keys are for it alone."
    )
    chain_id: Integer = Field(ge=1, le=MAX_CHAIN_ID, description="The chain that the nodes must be on.")
    contract: AddressText = Field(description="Address of the Touchstone contract.")
    rpc_urls: tuple[HttpUrl, ...] = Field(
        min_length=1, max_length=8, description="Nodes of the chain. Of several, two must agree on what money moves by."
    )


class EvidenceKeySettings(SignerSettings):
    """The key that signs answers: registered on chain, in need of no money. Exactly one, as in [keys]."""

    table: ClassVar[str] = "evidence"


class MinerStateSettings(Table):
    """What the miner keeps: jobs, answers, what it has signed. A copy of an old state must never run."""

    directory: Path = Field(description="On a local disk; of this user alone, mode 0700.")
    keep_models: bool = Field(default=False, description="Keep datasets and models an hour after their task has ended.")


class ServerSettings(Table):
    """Where validators find this miner."""

    url: str = Field(
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        description="As registered on chain; https and port 443 in production. To change it, all tasks must be over.",
    )
    listen: ListenText = Field(default="0.0.0.0:443", description="host:port of the server.")
    tls: Literal["own", "none"] = Field(
        default="own",
        description="own: this program ends TLS with a key in the state directory, which nobody certifies; none: "
        "something in front of it does, or nobody (dev).",
    )
    tls_key_hash: str | None = Field(
        default=None,
        pattern=r"^(0x)?[0-9a-f]{64}$",
        description="With tls none: SHA-256 of the public key (SPKI, DER) of what ends TLS in front of this program.",
    )

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.tls == "own" and self.tls_key_hash is not None:
            raise wrong("server.tls_key_hash", 'this program has a TLS key of its own: say tls = "none"')
        has_tls = self.tls == "own" or self.tls_key_hash is not None
        if self.url.startswith("https://") != has_tls:
            raise wrong("server.url", "https belongs with TLS, http without: see tls and tls_key_hash")
        return self

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class StakeSettings(Table):
    """What the bonds of tasks are taken from."""

    wei: Integer = Field(ge=0, le=MAX_WEI, description="Topped up to this at each start, from the account's ether.")


class AcceptSettings(Table):
    """Which tasks are accepted; all others are refused before anything is at stake."""

    base_model: str = Field(min_length=1, description="The base model that is trained here, as specs name it.")
    methods: tuple[Literal["lora", "full"], ...] = Field(
        default=("lora",), min_length=1, max_length=2, description="How it is trained."
    )
    min_reward_wei: Integer = Field(ge=1, le=MAX_WEI, description="The least reward.")
    max_bond_wei: Integer = Field(
        ge=0, le=MAX_WEI, description="The most that a task may put at risk: miner bond and availability bond together."
    )
    max_rows: Integer = Field(default=100_000, ge=1, le=10_000_000, description="Of a dataset.")
    max_epochs: Integer = Field(default=20, ge=1, le=100, description="Of a spec.")
    max_rank: Integer = Field(default=64, ge=1, le=256, description="Of a LoRA adapter.")
    max_length: Integer = Field(default=8_192, ge=8, le=8_192, description="Tokens of a row.")
    seconds_per_row: float = Field(
        default=0.0,
        ge=0,
        le=DAY_S,
        description="What training takes for a row and an epoch, as measured here: tasks that cannot be trained before "
        "their deadline are refused. 0: nobody has measured.",
    )


class TrainingSettings(Table):
    """The command that trains. It gets a minimal environment, and until the deadline less margin_seconds."""

    command: Command = Field(
        description="Words, no shell. {dataset} JSONL of messages, {spec} JSON, {output} the directory that the model "
        "must be in when the command ends with status 0; {base_model}, {task}, {progress}, {seconds}."
    )
    environment: dict[str, SecretStr] = Field(
        default={}, description="Variables beside PATH, HOME, LANG, TMPDIR and TZ, such as HF_HOME."
    )
    at_once: Integer = Field(default=1, ge=1, le=64, description="Tasks that are accepted and trained at a time.")
    attempts: Integer = Field(default=3, ge=1, le=100, description="How often a command that fails is run.")
    margin_seconds: Integer = Field(
        default=900, ge=1, le=7 * DAY_S, description="Left of the time for training, to load, check and submit."
    )

    @property
    def variables(self) -> dict[str, str]:
        """Of the environment, for the command."""
        return {name: value.get_secret_value() for name, value in self.environment.items()}


class ServingSettings(Table):
    """The OpenAI-compatible server that answers: vLLM, llama.cpp, TGI."""

    url: HttpUrl = Field(description="To /v1, on this machine or a network of yours.")
    api_key_file: Path | None = Field(default=None, description="Holds its API key, if it needs one; mode 0600.")
    api: Literal["chat", "completions"] = Field(
        default="chat", description="completions for base models without a chat template."
    )
    prompt_template: str = Field(
        default="Prompt: {prompt}\nResponse:\n",
        pattern=r"\{prompt\}",
        description="With completions: how a prompt is rendered. Returned weights are probed with the default.",
    )
    load: Literal["vllm", "none"] = Field(
        default="none", description="vllm: adapters are loaded over /v1/load_lora_adapter."
    )
    command: Command | None = Field(
        default=None,
        description="Makes a model ready to answer, and ends: {output} its directory, {name} what it is called. It may "
        "be run again for a model that is ready.",
    )
    model: str = Field(
        default="{name}", min_length=1, description="The model's name in requests; {name} is one of the task's own."
    )
    base_model: str | None = Field(
        default=None,
        description="The untrained model's name there: a trained one that answers just like it is not loaded.",
    )
    request: dict[str, Any] = Field(default={}, description="More fields of each request, as the server knows them.")
    base_request: dict[str, Any] = Field(default={}, description="The same where the untrained model is asked.")
    check_prompts: Integer = Field(
        default=8, ge=0, le=64, description="Rows that a model is asked before it answers any validator; 0: none."
    )
    one_at_a_time: bool = Field(
        default=False, description="The server holds one trained model: the next task waits until this one has ended."
    )
    timeout_seconds: Integer = Field(default=120, ge=1, le=3_600, description="For one answer.")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if NAME not in self.model and not self.one_at_a_time:
            raise wrong("serving.model", f"without {NAME} all tasks' models are one: say one_at_a_time = true")
        return self

    def name_in_requests(self, name: str) -> str:
        """Of the model of a task that is called so here."""
        return self.model.replace(NAME, name)


class MinerHttpSettings(HttpSettings):
    """Health and metrics for whoever may reach it; not the server that validators find."""

    listen: ListenText = Field(default="127.0.0.1:9880", description="host:port.")


class MinerDaemonSettings(BaseSettings):
    """The whole configuration of a miner; `settings_file.load_settings_of` makes one."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, env_prefix="TOUCHSTONE_", env_nested_delimiter="__"
    )

    network: MinerNetworkSettings
    keys: SignerSettings
    evidence: EvidenceKeySettings
    state: MinerStateSettings
    server: ServerSettings
    stake: StakeSettings
    accept: AcceptSettings
    training: TrainingSettings
    serving: ServingSettings
    http: MinerHttpSettings = MinerHttpSettings()
    log: LogSettings = LogSettings()

    @property
    def profile(self) -> Profile:
        return PROFILES[self.network.profile]

    @model_validator(mode="after")
    def _check_profile(self) -> Self:
        if self.network.profile == "dev":
            if self.network.chain_id not in DEV_CHAIN_IDS:
                chains = ", ".join(map(str, sorted(DEV_CHAIN_IDS)))
                raise wrong("network.profile", f"dev is for the chain ids {chains}: take production")
            return self
        for name, keys in (("keys", self.keys), ("evidence", self.evidence)):
            if keys.key_file is not None:
                raise wrong(f"{name}.key_file", "a bare key is for the dev profile: take a keystore or a remote signer")
        if not self.server.url.startswith("https://"):
            raise wrong("server.url", "production is https only")
        return self
