"""Deploys once: what was begun is finished first, with the same bytes, and what stands already is not repeated.

Rule kept: the chain decides what became of signed bytes. Their contract stands, or something else has used their nonce
for good, or they are sent again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from contracts import load_artifact
from validator.deployment.address_book import AddressBook, Deployment, identify
from validator.deployment.parameters import Parameters, describe_wei
from validator.edges.chain import Receipt, TransactionSender
from validator.edges.contract import Network, Touchstone
from validator.errors import BadInput, Fatal, TouchstoneError
from validator.types import Address

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deployed:
    """The contract with the parameters that were asked for, and whether it did not stand before this run."""

    deployment: Deployment
    chain_key: str
    is_new: bool

    @property
    def genesis_hash(self) -> str:
        return self.chain_key.partition(":")[2]


async def deploy(
    sender: TransactionSender, network: Network, book: AddressBook, *, is_another: bool, say: Say
) -> Deployed:
    """The book's contract with these parameters, or a new one, which is then in the book.

    BadInput if the chain has one with other parameters and `is_another` does not ask for one more, or if the balance
    is too small. Whatever else stops it, the next call goes on where this one ended.
    """
    chain_key = await identify(sender.chain)
    with book.locked():
        try:
            begun = book.deployments(chain_key)
            standing = [entry.tx_hash for entry in begun if await _finish(sender, entry, book, chain_key, say)]
            deployment = _find(book.deployments(chain_key), network)
            if deployment is None:
                _check_another(book.deployments(chain_key), is_another=is_another)
                deployment = await _deploy_new(sender, network, book, chain_key, say)
        except TouchstoneError as error:
            if not all(entry.is_mined for entry in book.deployments(chain_key)):
                error.add_note(f"what was begun is in {book.path}: the same command goes on with it")
            raise
    await _check(sender, deployment, book)
    return Deployed(deployment, chain_key, is_new=deployment.tx_hash not in standing)


async def _finish(sender: TransactionSender, begun: Deployment, book: AddressBook, chain_key: str, say: Say) -> bool:
    """Ask the chain what became of an entry, which stands afterwards or is no longer in the book; whether it stood."""
    chain = sender.chain
    # The nonce first: where it is used for good, code that is not there a moment later never will be.
    nonce = await chain.nonce(Address(begun.deployer), 0 if chain.is_dev_chain else None)
    if await chain.code_at(Address(begun.address)):
        if not begun.is_mined:
            book.put(chain_key, _as_mined(begun, await chain.receipt(begun.tx_hash)))
        return True
    if nonce > begun.nonce:
        say(f"{begun.address} was given up: another transaction of {begun.deployer} has taken its nonce")
        book.remove(chain_key, begun)
    elif begun.is_mined and chain.is_dev_chain:
        say(f"{begun.address} is gone: this development chain was started anew")
        book.remove(chain_key, begun)
    else:
        say(f"going on with the deployment of {begun.address} that was begun")
        book.put(chain_key, _as_mined(begun, await Touchstone.resume(sender, begun.raw)))
    return False


def _find(deployments: list[Deployment], network: Network) -> Deployment | None:
    source = load_artifact().source_sha256
    return next((known for known in deployments if (known.parameters, known.source_sha256) == (network, source)), None)


def _check_another(deployments: list[Deployment], *, is_another: bool) -> None:
    if deployments and not is_another:
        raise BadInput(
            f"this chain has a contract with other parameters or of another version at {deployments[-1].address}: "
            "--another deploys one more"
        )


async def _deploy_new(
    sender: TransactionSender, network: Network, book: AddressBook, chain_key: str, say: Say
) -> Deployment:
    chain = sender.chain
    signed = await Touchstone.sign_deployment(sender, network)
    balance_wei = await chain.balance_wei(sender.address)
    say(
        f"deploying takes at most {signed.gas_limit:,} gas at {signed.max_fee_per_gas_wei / 10**9:.6g} gwei, "
        f"{describe_wei(signed.max_cost_wei)}; {sender.address} has {describe_wei(balance_wei)}"
    )
    if balance_wei < signed.max_cost_wei:
        raise BadInput(
            f"the deployer {sender.address} has {describe_wei(balance_wei)} on chain {chain.chain_id}, and deploying "
            f"may take {describe_wei(signed.max_cost_wei)}: send it the rest first"
        )
    if signed.creates is None:
        raise Fatal("a deployment was signed that creates nothing")
    artifact = load_artifact()
    intent = Deployment(
        address=signed.creates,
        deployer=sender.address,
        nonce=signed.nonce,
        network=Parameters(**network._asdict()),
        source_sha256=artifact.source_sha256,
        compiler=artifact.compiler,
        transaction_hash=f"0x{signed.tx_hash.hex()}",
        raw_transaction=f"0x{signed.raw.hex()}",
    )
    book.put(chain_key, intent)
    say(f"sending transaction {intent.transaction_hash}")
    deployment = _as_mined(intent, await Touchstone.resume(sender, signed.raw))
    book.put(chain_key, deployment)
    return deployment


def _as_mined(intent: Deployment, receipt: Receipt) -> Deployment:
    if receipt.contract_address != intent.address:
        raise Fatal(f"the node says that the contract is at {receipt.contract_address}, not at {intent.address}")
    return intent.model_copy(update={"block_number": receipt.block_number, "cost_wei": receipt.cost_wei})


async def _check(sender: TransactionSender, deployment: Deployment, book: AddressBook) -> None:
    contract = await Touchstone.at(sender.chain, Address(deployment.address))
    if (await contract.network()) != deployment.parameters:
        raise Fatal(f"{deployment.address} has other parameters than {book.path} says")
