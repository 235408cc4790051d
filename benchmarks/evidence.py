"""What evidence is made of: signatures of transcripts, rows put into Merkle trees, proofs out of them.

Each is compared with what it cannot do without: a signature of libsecp256k1, a Keccak-256 of two hashes.
"""

import asyncio
import random
from typing import Any

from coincurve import PrivateKey, PublicKey

from benchmarks.repeats import REPEATS, measure_rates
from tests import factories as f
from validator.edges.keys import LocalSigner, SecretBytes, recover_typed_data
from validator.protocol import typed_data
from validator.protocol.commitment import MerkleTree, hash_row, keccak, verify_proof

SIGNATURES, PROOFS, KECCAKS = 500, 1_000, 20_000
W = 4


def measure_signatures(count: int = SIGNATURES, repeats: int = REPEATS) -> dict[str, Any]:
    """Transcripts signed a second, and signers recovered; `bare` is the curve alone, on a digest that is there."""
    secret, digest = f.digest("key"), f.digest("transcript")
    signer, bare = LocalSigner(SecretBytes(secret)), PrivateKey(secret)
    domain = typed_data.domain(f.CHAIN_ID, f.CONTRACT)
    struct = typed_data.transcript(f.TASK_ID, f.MODEL_HASH, f.digest("marks"), f.digest("replies"))
    signature = asyncio.run(signer.sign_typed_data(domain, struct))
    bare_signature = bare.sign_recoverable(digest, hasher=None)

    def sign() -> int:
        async def run() -> None:
            for _ in range(count):
                await signer.sign_typed_data(domain, struct)

        asyncio.run(run())
        return count

    def recover() -> int:
        for _ in range(count):
            assert recover_typed_data(domain, struct, signature) == signer.address
        return count

    def sign_bare() -> int:
        for _ in range(count):
            bare.sign_recoverable(digest, hasher=None)
        return count

    def recover_bare() -> int:
        for _ in range(count):
            PublicKey.from_signature_and_message(bare_signature, digest, hasher=None)
        return count

    works = {"signed": sign, "signed, bare": sign_bare, "recovered": recover, "recovered, bare": recover_bare}
    return measure_rates(works, repeats)


def measure_tree(k: int, repeats: int = REPEATS) -> dict[str, Any]:
    """Rows hashed and rows put into a tree a second, proofs made and verified; `keccak` is one hash of 64 bytes."""
    rows, salt = f.make_rows(k), f.digest("salt")
    leaves = [hash_row(salt, row, W).leaf for row in rows]
    tree = MerkleTree(leaves)
    chosen = random.Random(0).choices(leaves, k=PROOFS)
    proofs = [tree.proof(leaf) for leaf in chosen]

    def hash_rows() -> int:
        for row in rows:
            hash_row(salt, row, W).leaf  # noqa: B018 - the last of a row's hashes
        return k

    def build() -> int:
        MerkleTree(leaves)
        return k

    def prove() -> int:
        for leaf in chosen:
            tree.proof(leaf)
        return PROOFS

    def verify() -> int:
        assert all(verify_proof(tree.root, leaf, proof) for leaf, proof in zip(chosen, proofs, strict=True))
        return PROOFS

    def hash_pairs() -> int:
        pair = salt + salt
        for _ in range(KECCAKS):
            keccak(pair)
        return KECCAKS

    works = {"hashed": hash_rows, "in a tree": build, "proofs": prove, "verified": verify, "keccak": hash_pairs}
    return measure_rates(works, repeats)
