"""`touchstone validator`: parse and hand over. Imports that are slow happen inside the command that needs them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from validator.terminal import interruptible

validator_app = typer.Typer(help="Run a validator, and look after one.", no_args_is_help=True)

Config = Annotated[Path, typer.Option(envvar="TOUCHSTONE_CONFIG", help="The validator's configuration.")]
JsonAnswer = Annotated[Path | None, typer.Option("--json", help="Write the answer as JSON to this file, or to -.")]


@validator_app.command("init")
def validator_init(
    directory: Annotated[Path, typer.Argument(help="Where everything is put; made if it is not there.")],
    profile: Annotated[str, typer.Option(help="production, or dev for a development chain.")] = "production",
    chain_id: Annotated[int | None, typer.Option(help="The chain that the nodes must be on.")] = None,
    contract: Annotated[str | None, typer.Option(help="The Touchstone contract.")] = None,
    rpc_url: Annotated[list[str] | None, typer.Option(help="A node; give it twice, production needs two.")] = None,
    first_block: Annotated[int | None, typer.Option(help="The block of the contract's deployment.")] = None,
    model: Annotated[str | None, typer.Option(help='Language model of the marks, or "embedded".')] = None,
    min_reward_wei: Annotated[int | None, typer.Option(help="The least reward of a task that is taken.")] = None,
    cold_address: Annotated[str | None, typer.Option(help="Where credit goes that tasks do not need.")] = None,
) -> None:
    """Make a key, a master seed and an annotated configuration. Nothing is overwritten, and nothing is assumed.

    What is left out is left open in the configuration, and `check` says so.
    """
    with interruptible():
        from validator.operator.command import run_init

        network = {"profile": profile, "chain_id": chain_id, "contract": contract, "first_block": first_block}
        run_init(
            directory,
            {
                "network": network | {"rpc_urls": rpc_url},
                "keys": {"cold_address": cold_address},
                "generator": {"model": model},
                "tasks": {"min_reward_wei": min_reward_wei},
            },
        )


@validator_app.command("check")
def validator_check(config: Config, json_file: JsonAnswer = None) -> None:
    """Look for everything that could go wrong before money is at stake; sends nothing.

    Exit status 0 if nothing is wrong, 2 if anything is.
    """
    with interruptible():
        from validator.operator.command import run_check

        is_ok = run_check(config, json_file)
    raise typer.Exit(0 if is_ok else 2)


@validator_app.command("deposit")
def validator_deposit(
    amount: Annotated[str, typer.Argument(help="In ether, such as 0.05.")],
    config: Config,
) -> None:
    """Pay credit for bonds into the contract from the key's account, while the validator does not run."""
    with interruptible():
        from validator.operator.command import run_deposit

        run_deposit(config, amount)


@validator_app.command("sweep")
def validator_sweep(config: Config) -> None:
    """Move the credit that no task can need to keys.cold_address, while the validator does not run."""
    with interruptible():
        from validator.operator.command import run_sweep

        run_sweep(config)


@validator_app.command("run")
def validator_run(
    config: Config,
    history_is_lost: Annotated[
        bool,
        typer.Option("--history-is-lost", help="Begin anew with a key that was at work; what it left is given up."),
    ] = False,
) -> None:
    """Run the validator until SIGTERM or Ctrl-C; exit status 0 then. Everything that matters survives any other end."""
    with interruptible():
        from validator.operator.run import run_validator

        run_validator(config, is_history_lost=history_is_lost)


@validator_app.command("resume")
def validator_resume(config: Config) -> None:
    """Clear a protective stop, once its reason is understood: what the chain has counted is taken as it is."""
    with interruptible():
        from validator.operator.run import run_resume

        run_resume(config)


@validator_app.command("status")
def validator_status(
    config: Annotated[
        Path | None, typer.Option(envvar="TOUCHSTONE_CONFIG", help="The validator's configuration: names its socket.")
    ] = None,
    socket: Annotated[Path | None, typer.Option(help="The validator's control socket, in place of --config.")] = None,
    json_file: JsonAnswer = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
) -> None:
    """Tasks with their deadlines, money, transactions on their way, and health of a running validator."""
    with interruptible():
        from validator.customer.daemon import Place
        from validator.operator.status import run_status

        asyncio.run(run_status(place=Place(config, socket), json_file=json_file, is_watching=watch))


@validator_app.command("replay")
def validator_replay(
    task_id: Annotated[str, typer.Argument(help="The task's id, 0x and 64 hex digits.")],
    config: Config,
    json_file: JsonAnswer = None,
) -> None:
    """Tell what happened to one task and what was done about it, whether the validator runs or not."""
    with interruptible():
        from validator.operator.replay import run_replay

        asyncio.run(run_replay(task_id=task_id, config=config, json_file=json_file))


@validator_app.command("backup")
def validator_backup(
    directory: Annotated[Path, typer.Argument(help="A new directory for the copy.")], config: Config
) -> None:
    """Copy journal, datasets, evidence, configuration, keystore and master seed, while the validator runs or not."""
    with interruptible():
        from validator.operator.backup import run_backup

        run_backup(config=config, directory=directory)


@validator_app.command("calibrate")
def validator_calibrate(
    data: Annotated[Path, typer.Argument(help="JSONL rows of the kind that customers bring.")],
    config: Config,
    base_model: Annotated[str, typer.Option(help="The base model, as in the spec.")],
    epochs: Annotated[int, typer.Option(help="Epochs of the spec.")],
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the spec.")],
    batch_size: Annotated[int, typer.Option(help="Rows of a batch.")] = 4,
    max_length: Annotated[int, typer.Option(help="Tokens of a row that are trained on.")] = 256,
    method: Annotated[str, typer.Option(help="full or lora.")] = "full",
    rank: Annotated[int | None, typer.Option(help="Of the adapter, where the method is lora.")] = None,
    rows: Annotated[int | None, typer.Option(help="Rows of each run, chosen by its seed; all if absent.")] = None,
    runs: Annotated[int, typer.Option(help="Runs on all rows, and as many on half of them.")] = 5,
) -> None:
    """Measure how well honest miners learn by a spec, which judged weights of it are compared with. Trains for real.

    Ended and run again, it goes on where it was.
    """
    with interruptible():
        from validator.operator.calibrate import run_calibrate
        from validator.plan.spec import TrainingSpec

        spec = TrainingSpec(base_model, epochs, learning_rate, batch_size, max_length, method, rank)
        run_calibrate(config=config, data=data, rows=rows, spec=spec, runs=runs)
