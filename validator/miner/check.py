"""`touchstone miner check`: everything that can be found wrong before money is at stake. Nothing is sent or changed."""

import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from validator.amounts import describe_ether
from validator.errors import BadInput, TouchstoneError
from validator.miner.daemon import open_account, open_model_server
from validator.miner.serving import UNSTEADY, Serving
from validator.miner.settings import MinerDaemonSettings
from validator.operator.check import Finding
from validator.operator.wallet import open_signer
from validator.types import Wei


async def run_checks(settings: MinerDaemonSettings) -> list[Finding]:
    """Every check, whatever came of the others."""
    findings: list[Finding] = []
    async with AsyncExitStack() as stack:

        async def make(name: str, check: Callable[[], Awaitable[str]], remedy: str, *, is_fatal: bool = True) -> None:
            try:
                findings.append(Finding(name, True, await check(), "", is_fatal))
            except TouchstoneError as error:
                findings.append(Finding(name, False, " ".join(str(error).split()), remedy, is_fatal))

        async def account() -> str:
            _chain, miner = await stack.enter_async_context(open_account(settings))
            standing, balance = await miner.standing(), await miner.balance_wei()
            stake = standing.free_stake + standing.locked_stake
            missing = Wei(max(0, settings.stake.wei - stake))
            if balance <= missing:
                raise BadInput(f"{miner.address} has {balance} wei, and {missing} are to be staked, beside gas")
            registered = "is registered" if standing.epoch else "is not registered yet"
            return f"{miner.address} {registered}, with {describe_ether(Wei(stake))} at stake"

        async def evidence_key() -> str:
            async with open_signer(settings.evidence) as signer:
                return f"answers are signed by {signer.address}"

        async def commands() -> str:
            for name, command in (("training", settings.training.command), ("serving", settings.serving.command)):
                if command is not None and shutil.which(command[0]) is None:
                    raise BadInput(f"{name}.command: there is no program {command[0]}")
            return "there are such programs"

        async def model_server() -> str:
            serving = Serving(settings.serving, await stack.enter_async_context(open_model_server(settings)), {})
            if not await serving.repeats_itself():
                raise BadInput(UNSTEADY)
            return f"{settings.serving.url} answers"

        await make("account", account, "start the node, correct [network] or [keys], or send ether")
        await make("evidence key", evidence_key, "correct [evidence]")
        await make("commands", commands, "install it, or give its whole path")
        await make("model server", model_server, "start it, or correct [serving]", is_fatal=False)
    return findings
