"""`touchstone miner`: parse and hand over. Imports that are slow happen inside the command that needs them."""

from pathlib import Path
from typing import Annotated

import typer

from validator.terminal import interruptible

miner_app = typer.Typer(help="Run a miner in front of your own trainer and model server.", no_args_is_help=True)

Config = Annotated[Path, typer.Option(envvar="TOUCHSTONE_CONFIG", help="The miner's configuration.")]


@miner_app.command("init")
def miner_init(
    directory: Annotated[Path, typer.Argument(help="Where everything is put; made if it is not there.")],
    profile: Annotated[str, typer.Option(help="production, or dev for a development chain.")] = "production",
    chain_id: Annotated[int | None, typer.Option(help="The chain that the nodes must be on.")] = None,
    contract: Annotated[str | None, typer.Option(help="The Touchstone contract.")] = None,
    rpc_url: Annotated[list[str] | None, typer.Option(help="A node; give it again for another.")] = None,
    url: Annotated[str | None, typer.Option(help="Where validators will find this miner.")] = None,
) -> None:
    """Make an account, an evidence key and an annotated configuration. Nothing is overwritten or assumed."""
    with interruptible():
        from validator.miner.command import init

        network = {"profile": profile, "chain_id": chain_id, "contract": contract, "rpc_urls": rpc_url}
        init(directory, {"network": network, "server": {"url": url}})


@miner_app.command("run")
def miner_run(config: Config) -> None:
    """Register, stake, and serve validators until SIGTERM or SIGINT."""
    with interruptible():
        from validator.miner.command import run

        run(config)


@miner_app.command("check")
def miner_check(
    config: Config,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the answer as JSON to this file, or to -.")
    ] = None,
) -> None:
    """Look for everything that could go wrong before money is at stake; sends nothing.

    Exit status 0 if nothing is wrong, 2 if anything is.
    """
    with interruptible():
        from validator.miner.command import check

        is_ok = check(config, json_file)
    raise typer.Exit(0 if is_ok else 2)


@miner_app.command("unstake")
def miner_unstake(
    config: Config,
    amount: Annotated[str | None, typer.Argument(help="In ether; all that no task locks, if none is given.")] = None,
) -> None:
    """Take stake out: ask for it, and call this again after the contract's delay to have it. The miner must be stopped.

    An amount begins the delay anew for what is on its way already.
    """
    with interruptible():
        from validator.miner.command import unstake

        unstake(config, amount)
