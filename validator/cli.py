"""The `touchstone` command: parse, check, hand over. No rules in here.

Errors are one clear line on stderr: exit status 2 for bad input, 1 for anything else that went wrong, 130 after Ctrl-C.
Imports that are slow (web3, torch) happen inside the command that needs them.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from validator.customer.cli import task_app
from validator.errors import BadInput, ChainUnreachable, TouchstoneError
from validator.operator.cli import validator_app
from validator.terminal import interruptible

app = typer.Typer(
    name="touchstone",
    help="Finds out whether a miner really fine-tuned on the data, and settles on an EVM chain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
contract_app = typer.Typer(help="Deploy the contract, or look at one that is deployed.", no_args_is_help=True)
app.add_typer(contract_app, name="contract")
app.add_typer(validator_app, name="validator")
app.add_typer(task_app, name="task")

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
    miners: Annotated[str, typer.Option(help="Strategies and how many of each.")] = (
        "honest=2,partial:0.25=1,base=1,noise=1"
    ),
    scheme: Annotated[str, typer.Option(help="How marks are hidden: canary or backdoor.")] = "canary",
    data: Annotated[Path | None, typer.Option(help="JSONL dataset; without it one is generated.")] = None,
    rows: Annotated[int | None, typer.Option(help="Rows to take from the dataset (300 if generated).")] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Hugging Face causal model, a directory or an id; the embedded one if absent.")
    ] = None,
    probes: Annotated[int, typer.Option(help="Marked rows, each probed once (16 to 64).")] = 16,
    epochs: Annotated[int, typer.Option(help="Epochs of the training spec.")] = 12,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the training spec.")] = 4e-3,
    slashing: Annotated[bool, typer.Option(help="Whether too few hits burn the miner's bond.")] = True,
    weights: Annotated[str, typer.Option(help="Weights to be returned: none, delivered or judged.")] = "none",
    seed: Annotated[int, typer.Option(help="On a fresh chain, the same seed repeats keys, marks and training.")] = 0,
    chain: Annotated[str, typer.Option(help="embedded, anvil, or the URL of a development node.")] = "embedded",
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
    try:
        with interruptible():
            from validator.simulation.command import run_command

            is_as_expected = run_command(
                miners=miners,
                scheme=scheme,
                data=data,
                rows=rows,
                base_model=base_model,
                probes=probes,
                epochs=epochs,
                learning_rate=learning_rate,
                slashing=slashing,
                weights=weights,
                seed=seed,
                chain=chain,
                funder_key_file=funder_key_file,
                port=port,
                workers=workers,
                directory=directory,
                keep_models=keep_models,
                json_file=json_file,
                quiet=quiet,
            )
    except ModuleNotFoundError as error:
        command = "pip install 'touchstone-validator[simulate]'"
        raise BadInput(f"simulate needs a package that is not installed ({error.name}): {command}") from error
    raise typer.Exit(0 if is_as_expected else 1)


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
