"""Whether what stands at an address is the contract whose source is shipped here.

Rule kept: every byte counts. The code is the artefact's, the immutables are those of a deployment, nothing trails. And
the code is not all: other init code could have written credits into the storage and then left this very code, which
only the deploying transaction shows.
"""

import hashlib
from dataclasses import dataclass, field

from contracts import ARTIFACT_PATH, SOURCE_PATH, load_artifact
from validator.edges.chain import Chain
from validator.edges.contract import Immutables, Network, Touchstone, encode_deployment
from validator.errors import BadInput
from validator.protocol import typed_data
from validator.types import Address, Hash32


@dataclass(frozen=True, slots=True)
class Verification:
    """`findings` say in what it is not this contract, `warnings` what else to know; `immutables` None if unreadable."""

    address: Address
    chain_id: int
    immutables: Immutables | None
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_verified(self) -> bool:
        return not self.findings


async def verify(chain: Chain, address: Address, *, transaction: Hash32 | None, is_recompiling: bool) -> Verification:
    """Compare what stands at `address`, and the `transaction` that put it there, with the shipped artefact.

    Raises what `Chain` does, and BadInput if the compiler is asked for and not installed.
    """
    findings = _find_stale_artifact(is_recompiling=is_recompiling)
    contract = Touchstone(chain, address)
    try:
        immutables = await contract.immutables()
    except ValueError as error:
        return Verification(address, chain.chain_id, None, [*findings, str(error)])
    if await contract.domain_separator() != typed_data.hash_domain(contract.domain):
        findings.append("its domain separator is not that of this chain and address: the node's answers differ")
    warnings = []
    if transaction is None:
        warnings.append(
            "only the code was compared: whether its deployment wrote credits or stakes beforehand shows in the "
            "deploying transaction alone (--transaction)"
        )
    else:
        findings += await _find_foreign_deployment(chain, address, transaction, immutables.network)
    if immutables.birth_chain_id != chain.chain_id:
        warnings.append(
            f"it was deployed on chain {immutables.birth_chain_id} and answers on chain {chain.chain_id}, which has "
            "split off: task ids count with the former, signatures with the latter"
        )
    return Verification(address, chain.chain_id, immutables, findings, warnings)


async def _find_foreign_deployment(chain: Chain, address: Address, transaction: Hash32, network: Network) -> list[str]:
    created, data = await chain.creation(transaction)
    if created != address:
        return [f"transaction 0x{transaction.hex()} created {created or 'no contract'}, not {address}"]
    if data != encode_deployment(network):
        return [f"transaction 0x{transaction.hex()} deployed it by other init code, which may have written its storage"]
    return []


def _find_stale_artifact(*, is_recompiling: bool) -> list[str]:
    if hashlib.sha256(SOURCE_PATH.read_bytes()).hexdigest() != load_artifact().source_sha256:
        return [f"{ARTIFACT_PATH} was not compiled from {SOURCE_PATH}"]
    if is_recompiling:
        try:
            from contracts.compile import compile_artifact
        except ModuleNotFoundError as error:
            raise BadInput(
                f"--recompile needs a package that is not installed ({error.name}): "
                "pip install 'touchstone-validator[contracts]'"
            ) from error
        if compile_artifact() != ARTIFACT_PATH.read_text(encoding="utf-8"):
            return [f"{ARTIFACT_PATH} is not what {SOURCE_PATH} compiles to"]
    return []
