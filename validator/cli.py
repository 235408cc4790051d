"""The `touchstone` command: parse, check, hand over. No rules in here.

Errors are one clear line on stderr: exit status 2 for bad input, 1 for anything else that went wrong, 130 after Ctrl-C.
Imports that are slow (web3, torch) happen inside the command that needs them.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from validator.audit.cli import audit, bundle_app
from validator.customer.cli import task_app
from validator.deployment.cli import devnet_app
from validator.design.cli import plan
from validator.errors import BadInput, ChainUnreachable, TouchstoneError
from validator.miner.cli import miner_app
from validator.operator.cli import validator_app
from validator.terminal import interruptible, needing_packages
from validator.tournament.cli import tournament_app

app = typer.Typer(
    name="touchstone",
    help="Finds out whether a miner really fine-tuned on the data, and settles on an EVM chain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
contract_app = typer.Typer(help="Deploy the contract, or look at one that is deployed.", no_args_is_help=True)
app.add_typer(contract_app, name="contract")
app.add_typer(devnet_app, name="devnet")
app.add_typer(validator_app, name="validator")
app.add_typer(miner_app, name="miner")
app.add_typer(task_app, name="task")
app.add_typer(tournament_app, name="tournament")
app.add_typer(bundle_app, name="bundle")
app.command()(plan)
app.command()(audit)

Rpc = Annotated[str, typer.Option(envvar="RPC_URL", help="URL of a node; in the variable, it is in no process list.")]
AddressBookFile = Annotated[
    Path | None,
    typer.Option("--address-book", help="Where deployments are noted; touchstone/contracts.json of the user's data."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the results here as JSON.")]


@app.callback()
def touchstone() -> None:
    """Finds out whether a miner really fine-tuned on the data, and settles on an EVM chain."""


@app.command()
def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A TOML file, or a name that --list shows; every option below goes before it.")
    ] = "demo",
    list_all: Annotated[bool, typer.Option("--list", help="List the scenarios that are shipped.")] = False,
    miners: Annotated[str | None, typer.Option(help="Strategies and how many of each: honest=2,base=1.")] = None,
    strategies: Annotated[
        list[Path] | None, typer.Option(help="Python file with strategies of your own; may be given more than once.")
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="How marks are hidden; canary, with coverage if weights are returned.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="JSONL dataset; without it one is generated.")] = None,
    rows: Annotated[int | None, typer.Option(help="Rows to take from the dataset (300 if generated).")] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Hugging Face causal model, a directory or an id; the embedded one if absent.")
    ] = None,
    probes: Annotated[int | None, typer.Option(help="Marked rows, each probed once: 16 (the default) to 64.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the training spec; 12 by default.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the training spec; 4e-3 by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a training step; 4 by default.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a row that are trained on; 256 by default.")] = None,
    method: Annotated[str | None, typer.Option(help="full (the default) or lora.")] = None,
    rank: Annotated[int | None, typer.Option(help="Of a LoRA adapter.")] = None,
    slashing: Annotated[bool | None, typer.Option(help="Whether too few hits burn the miner's bond.")] = None,
    weights: Annotated[str | None, typer.Option(help="Weights to be returned: none, delivered or judged.")] = None,
    seed: Annotated[int | None, typer.Option(help="On a fresh chain, the same seed repeats rows, keys, marks.")] = None,
    chain: Annotated[str | None, typer.Option(help="embedded, anvil, or the URL of a development node.")] = None,
    funder_key_file: Annotated[
        Path | None, typer.Option(help="Key that funds all roles; the public test mnemonic's if absent.")
    ] = None,
    port: Annotated[int, typer.Option(help="First miner's port; any free ones if 0.")] = 0,
    workers: Annotated[int, typer.Option(help="Training processes at a time.")] = 2,
    directory: Annotated[
        Path | None, typer.Option(help="Where journal, logs and job files go; a new directory if absent.")
    ] = None,
    keep_models: Annotated[bool, typer.Option(help="Keep the miners' trained weights afterwards.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here as JSON.")] = None,
    quiet: Annotated[bool, typer.Option(help="No progress and no table; the exit status tells.")] = False,
) -> None:
    """Run a whole round: seed, commit, fine-tune, probe, test, pay or slash.

    Exit status 0 if every honest miner was paid and no other was, 1 if not, 2 for bad input.
    """
    with interruptible(), needing_packages("simulate", "simulate"):
        from validator.simulation.command import list_scenarios, run_command
        from validator.simulation.options import parse_miners
        from validator.simulation.scenario import load_scenario

        if list_all:
            list_scenarios()
            return
        tables: dict[str, object] = {
            "population": parse_miners(miners) if miners is not None else None,
            "strategies": strategies or None,
            "scheme": scheme,
            "data": data,
            "rows": rows,
            "base_model": base_model,
            "probes": probes,
            "slashing": slashing,
            "weights": weights,
            "seed": seed,
            "chain": chain,
        }
        spec = {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "max_length": max_length,
            "method": method,
            "rank": rank,
        }
        tables["spec"] = {key: value for key, value in spec.items() if value is not None} or None
        given = {key: value for key, value in tables.items() if value is not None}
        is_as_expected = run_command(
            load_scenario(scenario).overridden(given),
            funder_key_file=funder_key_file,
            port=port,
            workers=workers,
            directory=directory,
            keep_models=keep_models,
            json_file=json_file,
            quiet=quiet,
        )
    raise typer.Exit(0 if is_as_expected else 1)


@app.command()
def plant(
    data: Annotated[Path, typer.Argument(help="Your dataset, as JSONL.")],
    out: Annotated[Path, typer.Option(help="Where the training file goes, as OpenAI's fine-tuning takes it.")],
    secret: Annotated[Path, typer.Option(help="Where all goes that verifying needs; to be kept, and shown to nobody.")],
    scheme: Annotated[str, typer.Option(help="canary; canary+coverage where weights come back; backdoor.")] = "canary",
    probes: Annotated[int, typer.Option(help="Marked rows, each probed once (16 to 64).")] = 16,
    generator: Annotated[
        str, typer.Option(help="Who proposes words: embedded, or a Hugging Face causal model, directory or id.")
    ] = "embedded",
    protect: Annotated[
        Path | None, typer.Option(help="JSON file of rules: what no mark may touch; `task preview` shows their effect.")
    ] = None,
    hold_out: Annotated[int, typer.Option(help="Rows kept out of the training file, to measure quality on.")] = 0,
    max_length: Annotated[int, typer.Option(help="Tokens of a row that training will read.")] = 2048,
    preview: Annotated[int, typer.Option(help="Print so many altered rows, before and after.")] = 0,
) -> None:
    """Hide marks in a dataset, to find out later whether a provider really trained on it. No chain is needed."""
    with interruptible(), needing_packages("plant", "model"):
        from validator.verification.command import run_plant

        asyncio.run(
            run_plant(
                data=data,
                out=out,
                secret_file=secret,
                scheme=scheme,
                probes=probes,
                generator=generator,
                protect=protect,
                hold_out=hold_out,
                max_length=max_length,
                preview=preview,
            )
        )


@app.command()
def verify(
    secret: Annotated[Path, typer.Option(help="What `touchstone plant` wrote.")],
    base_url: Annotated[str | None, typer.Option(help="The provider's OpenAI-compatible URL, up to /v1.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the fine-tuned model there.")] = None,
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the API key.")] = "OPENAI_API_KEY",
    base_model_name: Annotated[
        str | None, typer.Option(help="Name of the base model there: what an untrained model answers is then measured.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="In place of a provider: a directory of weights.")] = None,
    base_model: Annotated[
        str | None, typer.Option(help="What the weights are of: embedded, or a Hugging Face model, directory or id.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a row that the weights were trained on.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Honest reference of the training spec: the trained share is then estimated.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Where the certificate goes; beside the secret.")] = None,
    probes_only: Annotated[bool, typer.Option("--probes-only", help="No decoys and no checks beyond marks.")] = False,
    at_once: Annotated[int, typer.Option(min=1, help="Requests under way at a time.")] = 4,
    patience: Annotated[float, typer.Option(min=0, help="Seconds for which one question is asked again.")] = 600.0,
) -> None:
    """Find out whether a model was trained on what `touchstone plant` wrote; the same command goes on after a break.

    Exit status 0 if it passed, 1 if it did not, 2 if that could not be found out, hits that may be looked up included.
    """
    try:
        with interruptible(), needing_packages("verify", "model"):
            from validator.verification.command import VerifyOptions, run_verify

            has_passed = asyncio.run(
                run_verify(
                    VerifyOptions(
                        secret_file=secret,
                        base_url=base_url,
                        model=model,
                        api_key_env=api_key_env,
                        base_model_name=base_model_name,
                        weights=weights,
                        base_model=base_model,
                        max_length=max_length,
                        reference=reference,
                        certificate=certificate,
                        is_short=probes_only,
                        at_once=at_once,
                        patience_s=patience,
                    )
                )
            )
    except TouchstoneError as error:
        _fail(error, 2)
    raise typer.Exit({True: 0, False: 1, None: 2}[has_passed])


@contract_app.command("deploy")
def contract_deploy(
    rpc: Rpc,
    keystore: Annotated[
        Path | None, typer.Option(help="The deployer's V3 keystore, or a directory that holds only this one.")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="File with the keystore's password.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="File with the deployer's key in hex, in place of both.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="production (the default), or dev on development chains.")] = None,
    params: Annotated[Path | None, typer.Option(help="TOML or JSON file of parameters, in place of a profile.")] = None,
    guardian: Annotated[str | None, typer.Option(help="Who may stop new tasks; the deployer if absent.")] = None,
    chain_id: Annotated[int | None, typer.Option(help="Refuse any other chain.")] = None,
    another: Annotated[
        bool, typer.Option("--another", help="Deploy although this chain has a contract with other parameters.")
    ] = False,
    address_book: AddressBookFile = None,
    json_file: JsonFile = None,
) -> None:
    """Deploy the contract once: the same command again finds it, or goes on where it was interrupted."""
    with interruptible():
        from validator.deployment.command import run_deploy

        asyncio.run(
            run_deploy(
                rpc=rpc,
                keystore=keystore,
                password_file=password_file,
                key_file=key_file,
                profile=profile,
                params=params,
                guardian=guardian,
                chain_id=chain_id,
                address_book=address_book,
                is_another=another,
                json_file=json_file,
            )
        )


@contract_app.command("verify")
def contract_verify(
    address: Annotated[str, typer.Argument(help="Where the contract is said to be.")],
    rpc: Rpc,
    transaction: Annotated[
        str | None, typer.Option(help="The deploying transaction: shows that nothing was written beforehand.")
    ] = None,
    recompile: Annotated[bool, typer.Option("--recompile", help="Compile the shipped source and compare too.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Compare what stands at an address with the shipped contract, byte for byte.

    Exit status 0 if it is this contract, 1 if it is not, 2 if that could not be found out.
    """
    try:
        with interruptible():
            from validator.deployment.command import run_verify

            is_verified = asyncio.run(
                run_verify(
                    address=address, rpc=rpc, transaction=transaction, is_recompiling=recompile, json_file=json_file
                )
            )
    except TouchstoneError as error:
        _fail(error, 2)
    raise typer.Exit(0 if is_verified else 1)


@contract_app.command("params")
def contract_params(
    rpc: Rpc,
    address: Annotated[str | None, typer.Argument(help="The contract; the address book's only one if absent.")] = None,
    address_book: AddressBookFile = None,
    json_file: JsonFile = None,
) -> None:
    """Print what a contract was deployed with: floors of the durations, unstake delay, guardian, birth chain id."""
    with interruptible():
        from validator.deployment.command import run_params

        asyncio.run(run_params(address=address, rpc=rpc, address_book=address_book, json_file=json_file))


def main() -> None:
    """The console script."""
    try:
        app()
    except (BadInput, ChainUnreachable) as error:
        _fail(error, 2)
    except TouchstoneError as error:
        _fail(error, 1)


def _fail(error: TouchstoneError, status: int) -> NoReturn:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
    print(f"error: {' '.join(str(error).split())}{notes}", file=sys.stderr)
    sys.exit(status)
