"""`touchstone audit` and `touchstone bundle`: parse and hand over. Imports that are slow happen inside the commands."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from validator.errors import TouchstoneError
from validator.terminal import interruptible

bundle_app = typer.Typer(help="Look at evidence bundles, without any chain.", no_args_is_help=True)


def audit(
    rpc: Annotated[
        list[str],
        typer.Option(envvar="RPC_URL", help="URL of any node of the chain; of several, two must say the same."),
    ],
    contract: Annotated[str, typer.Option(help="Address of the contract.")],
    tasks: Annotated[list[str] | None, typer.Argument(metavar="[TASK ...]", help="Report these tasks alone.")] = None,
    from_block: Annotated[
        int, typer.Option(min=0, help="Where to begin: the block in which the contract was deployed, or any before.")
    ] = 0,
    bundles: Annotated[
        list[str] | None,
        typer.Option(help="Directory of evidence bundles, or a validator's https://host/bundles; may be repeated."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with every new final block, until Ctrl-C.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="SQLite file with what was read and found: the same command goes on from it.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON, to - for stdout.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as a page: one file, with everything in it.")
    ] = None,
) -> None:
    """Recompute every commitment, count, verdict and payment of a contract from public data, and say who lied.

    Exit status 0 if nothing is wrong, 1 if something is, 2 if that could not be found out.
    """
    try:
        with interruptible():
            from validator.audit.command import AuditOptions, run_audit

            status = asyncio.run(
                run_audit(
                    AuditOptions(
                        rpc=rpc,
                        contract=contract,
                        tasks=tasks or (),
                        from_block=from_block,
                        bundles=bundles or (),
                        follow=follow,
                        store=store,
                        json_file=json_file,
                        html=html,
                    )
                )
            )
    except TouchstoneError as error:
        _could_not(error)
    raise typer.Exit(status)


@bundle_app.command("verify")
def bundle_verify(file: Annotated[Path, typer.Argument(help="The evidence bundle of one task.")]) -> None:
    """Recompute everything in a bundle that does not need the chain: commitment, draws, replies, signature, test.

    Exit status 0 if it agrees with itself, 1 if not, 2 if it is no bundle.
    """
    try:
        with interruptible():
            from validator.audit.command import run_bundle_verify

            is_consistent = run_bundle_verify(file)
    except TouchstoneError as error:
        _could_not(error)
    raise typer.Exit(0 if is_consistent else 1)


def _could_not(error: TouchstoneError) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    raise typer.Exit(2) from None
