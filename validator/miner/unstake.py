"""`touchstone miner unstake`: the stake out of the contract, in two calls with the contract's delay between them.

Rule kept: the account is used only while no miner runs on this state, whose transactions would take the same nonces.
"""

from contextlib import AsyncExitStack
from datetime import UTC, datetime

from validator.amounts import describe_ether
from validator.errors import BadInput
from validator.files import locked
from validator.miner.chain_client import Deadline
from validator.miner.daemon import open_account
from validator.miner.settings import MinerDaemonSettings
from validator.types import Wei


async def unstake(settings: MinerDaemonSettings, amount_wei: Wei | None) -> str:
    """Take the next step, and say which and what comes after it.

    With an amount, so much of the free stake is put on its way, and the delay of what is on its way already begins
    anew. Without one, what is on its way is drawn to the account as soon as it may be; if nothing is, all free stake
    is put on its way. BadInput while a miner runs, or if there is less free stake.
    """
    directory = settings.state.directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(directory / "lock", f"a miner runs with the state in {directory}: stop it first"))
        chain, account = await stack.enter_async_context(open_account(settings))
        standing = await account.standing()
        if amount_wei is None and standing.unstaking:
            if await Deadline(standing.unstake_ready_at, chain).seconds_left() > 0:
                return _describe_wait(standing.unstaking, standing.unstake_ready_at)
            await account.unstake()
            return f"{describe_ether(standing.unstaking)} of stake, and all other credit, are in {account.address}"
        wanted = standing.free_stake if amount_wei is None else amount_wei
        if not 0 < wanted <= standing.free_stake:
            raise BadInput(
                f"{account.address} has {describe_ether(standing.free_stake)} of free stake, and tasks that run lock "
                f"{describe_ether(standing.locked_stake)}"
            )
        await account.request_unstake(wanted)
        standing = await account.standing()
        return _describe_wait(standing.unstaking, standing.unstake_ready_at)


def _describe_wait(amount_wei: Wei, ready_at_s: int) -> str:
    ready = datetime.fromtimestamp(ready_at_s, UTC)
    return (
        f"{describe_ether(amount_wei)} of stake are on their way out: call this again, without an amount, after "
        f"{ready:%Y-%m-%d %H:%M:%S} UTC"
    )
