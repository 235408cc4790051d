"""`touchstone devnet`: parse and hand over. Imports that are slow happen inside the commands."""

import asyncio
from typing import Annotated

import typer

from validator.terminal import interruptible, needing_packages

devnet_app = typer.Typer(
    help="A development chain to try everything on; its ether is worth nothing.", no_args_is_help=True
)


@devnet_app.command("run")
def devnet_run(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On this machine alone; any free one if 0.")] = 8545,
) -> None:
    """Run an EVM chain in this terminal until Ctrl-C, after which nothing is left of it.

    A block comes with each transaction, and every twelve seconds.
    """
    with interruptible(), needing_packages("devnet run", "devnet"):
        from validator.deployment.devnet import run_devnet

        asyncio.run(run_devnet(port))


@devnet_app.command("fund")
def devnet_fund(
    address: Annotated[str, typer.Argument(help="Who gets it.")],
    amount: Annotated[str, typer.Argument(help="In ether.")],
    rpc: Annotated[str, typer.Option(envvar="RPC_URL", help="The chain's URL.")] = "http://127.0.0.1:8545",
) -> None:
    """Send ether from the first account of the public test mnemonic, which embedded chains, anvil and Hardhat fund."""
    with interruptible():
        from validator.deployment.devnet import fund

        asyncio.run(fund(rpc=rpc, address=address, amount=amount))
