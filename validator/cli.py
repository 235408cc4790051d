"""The `touchstone` command: parse, check, hand over. No rules in here.

Errors are one clear line on stderr: exit status 2 for bad input, 1 for anything else that went wrong, 130 after Ctrl-C.
Imports that are slow (web3, torch) happen inside the command that needs them.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from validator.errors import BadInput, ChainUnreachable, TouchstoneError

app = typer.Typer(
    name="touchstone",
    help="Finds out whether a miner really fine-tuned on the data, and settles on an EVM chain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
    except KeyboardInterrupt:
        # Typer would answer with a bare exit status.
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(0 if is_as_expected else 1)


def main() -> None:
    """The console script."""
    try:
        app()
    except (BadInput, ChainUnreachable) as error:
        _fail(error, 2)
    except TouchstoneError as error:
        _fail(error, 1)


def _fail(error: TouchstoneError, status: int) -> None:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
    print(f"error: {' '.join(str(error).split())}{notes}", file=sys.stderr)
    sys.exit(status)
