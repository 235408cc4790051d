"""`touchstone contract deploy`, `verify` and `params`, from options to what is printed."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from contracts import load_artifact
from validator.config import PROFILES
from validator.deployment.address_book import AddressBook, default_path, identify
from validator.deployment.deploy import deploy
from validator.deployment.parameters import choose_network, describe_network, describe_wei, parse_address, parse_hash
from validator.deployment.verify import verify
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Immutables, Touchstone
from validator.edges.key_files import load_key_file, load_keystore
from validator.edges.keys import LocalSigner
from validator.errors import BadInput
from validator.files import check_writable, write_whole
from validator.types import Address


async def run_deploy(
    *,
    rpc: str,
    keystore: Path | None,
    password_file: Path | None,
    key_file: Path | None,
    profile: str | None,
    params: Path | None,
    guardian: str | None,
    chain_id: int | None,
    address_book: Path | None,
    is_another: bool,
    json_file: Path | None,
) -> None:
    """Deploy once and say where; BadInput before anything is sent, where that can be."""
    if profile is not None and params is not None:
        raise BadInput("--profile and --params both give the network's parameters: take one of them")
    profile = profile or "production"
    _check_writable(json_file)
    named_guardian = parse_address(guardian) if guardian is not None else None
    signer = _load_signer(keystore, password_file, key_file)
    book = AddressBook(address_book or default_path())
    console = _console()
    async with _connected(rpc) as chain:
        if chain_id not in (None, chain.chain_id):
            raise BadInput(f"the node is on chain {chain.chain_id}, not on {chain_id}")
        network = choose_network(profile, params, guardian=signer.address, is_dev_chain=chain.is_dev_chain)
        if named_guardian is not None:
            network = network._replace(guardian=named_guardian)
        if params is None and PROFILES[profile].notice:
            console.print(PROFILES[profile].notice)
        sender = TransactionSender(chain, signer)
        try:
            deployed = await deploy(sender, network, book, is_another=is_another, say=console.print)
        except asyncio.CancelledError:
            print(f"if anything was sent, it is in {book.path}: the same command goes on with it", file=sys.stderr)
            raise
        balance_wei = await chain.balance_wei(signer.address)
    deployment = deployed.deployment
    console.print(f"{'deployed' if deployed.is_new else 'already deployed'}: {deployment.address}")
    money = f"{describe_wei(deployment.cost_wei or 0)}; {signer.address} has {describe_wei(balance_wei)}"
    _print_rows(
        console,
        [
            ("chain", str(chain.chain_id)),
            ("block", str(deployment.block_number)),
            ("transaction", deployment.transaction_hash),
            ("cost", money),
            *describe_network(network),
            ("address book", str(book.path)),
        ],
    )
    place = {"is_new": deployed.is_new, "chain_id": chain.chain_id, "genesis_hash": deployed.genesis_hash}
    _write_json(json_file, place | deployment.model_dump(exclude={"raw_transaction"}))


async def run_verify(
    *, address: str, rpc: str, transaction: str | None, is_recompiling: bool, json_file: Path | None
) -> bool:
    """Whether the shipped contract stands at the address; prints what differs, and the parameters if it does."""
    _check_writable(json_file)
    checked = parse_address(address)
    tx_hash = parse_hash(transaction) if transaction is not None else None
    async with _connected(rpc) as chain:
        verification = await verify(chain, checked, transaction=tx_hash, is_recompiling=is_recompiling)
    console = _console()
    artifact = load_artifact()
    for warning in verification.warnings:
        console.print(f"warning: {warning}")
    for finding in verification.findings:
        console.print(f"not verified: {finding}")
    if verification.is_verified:
        console.print(f"verified: {checked} on chain {chain.chain_id} is Touchstone, compiled by {artifact.compiler}")
        console.print(f"source sha256 {artifact.source_sha256}")
    _print_rows(console, _rows(verification.immutables))
    result = {
        "address": checked,
        "chain_id": chain.chain_id,
        "transaction": transaction,
        "is_verified": verification.is_verified,
        "is_recompiled": is_recompiling,
        "findings": verification.findings,
        "warnings": verification.warnings,
        "source_sha256": artifact.source_sha256,
        "compiler": artifact.compiler,
    }
    _write_json(json_file, result | _json(verification.immutables))
    return verification.is_verified


async def run_params(*, address: str | None, rpc: str, address_book: Path | None, json_file: Path | None) -> None:
    """Print what the contract was deployed with; the address is the book's only one on that chain, if not given."""
    _check_writable(json_file)
    checked = parse_address(address) if address is not None else None
    async with _connected(rpc) as chain:
        if checked is None:
            checked = await _only_address(AddressBook(address_book or default_path()), chain)
        contract = await Touchstone.at(chain, checked)
        immutables, is_sunset = await contract.immutables(), await contract.is_sunset()
    console = _console()
    state = "yes: no task can be opened" if is_sunset else "no"
    _print_rows(console, [("contract", checked), *_rows(immutables), ("sunset", state)])
    _write_json(json_file, {"address": checked, "chain_id": chain.chain_id, "is_sunset": is_sunset} | _json(immutables))


@asynccontextmanager
async def _connected(rpc: str) -> AsyncIterator[Chain]:
    chain = await Chain.connect(rpc)
    try:
        yield chain
    finally:
        await chain.aclose()


def _load_signer(keystore: Path | None, password_file: Path | None, key_file: Path | None) -> LocalSigner:
    match keystore, password_file, key_file:
        case None, None, Path():
            return load_key_file(key_file)
        case Path(), Path(), None:
            return load_keystore(keystore, password_file)
    raise BadInput("the deployer's key is either --keystore with --password-file, or --key-file")


async def _only_address(book: AddressBook, chain: Chain) -> Address:
    addresses = [Address(deployment.address) for deployment in book.deployments(await identify(chain))]
    if len(addresses) != 1:
        found = f"{len(addresses)} contracts ({', '.join(addresses)})" if addresses else "no contract"
        raise BadInput(f"{book.path} has {found} on chain {chain.chain_id}: give the address")
    return addresses[0]


def _rows(immutables: Immutables | None) -> list[tuple[str, str]]:
    if immutables is None:
        return []
    return [*describe_network(immutables.network), ("birth chain id", str(immutables.birth_chain_id))]


def _json(immutables: Immutables | None) -> dict[str, Any]:
    if immutables is None:
        return {"network": None, "birth_chain_id": None}
    return {"network": immutables.network._asdict(), "birth_chain_id": immutables.birth_chain_id}


def _console() -> Console:
    # Addresses, hashes and paths are for copying: never wrapped, coloured or read as markup.
    return Console(soft_wrap=True, highlight=False, markup=False)


def _print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    for name, value in rows:
        console.print(f"  {name:<16}{value}")


def _check_writable(json_file: Path | None) -> None:
    if json_file is not None:
        check_writable(json_file)


def _write_json(json_file: Path | None, result: dict[str, Any]) -> None:
    if json_file is not None:
        write_whole(json_file, json.dumps(result, indent=2) + "\n")
