"""Whether a journal can be the whole history of its key (P9): an empty one, with a key at work, has lost it."""

from validator.edges.contract import Touchstone
from validator.errors import BadInput
from validator.journal import Journal
from validator.types import Address

LOST_FLAG = "--history-is-lost"


async def check_history(journal: Journal, contract: Touchstone, validator: Address, *, is_lost: bool = False) -> None:
    """BadInput if nothing was ever recorded although the contract knows tasks of this key; `is_lost` is LOST_FLAG.

    What other transactions the key has sent says nothing: funding and deposits need no journal.
    """
    if is_lost or not journal.is_new:
        return
    count = await contract.validator_nonce(validator)
    if count > 0:
        raise BadInput(
            f"the journal is empty, and {validator} has opened {count} tasks on {contract.address}: name the journal "
            f"that it was used with, or say {LOST_FLAG} to give up what is still running there"
        )
