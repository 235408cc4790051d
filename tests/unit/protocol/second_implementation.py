"""The canonical bytes once more, written from protocol.md alone, to make `vectors.json` and to keep it honest.

Nothing here comes from `validator`: keccak is pycryptodome's, ABI words are laid out by hand, the Merkle tree is a
queue instead of an array, EIP-712 digests are hashed from their type strings. `python -m
tests.unit.protocol.second_implementation` prints the vectors.
"""

import json
import sys
from collections import deque
from hashlib import sha256
from typing import Any

from Crypto.Hash import keccak as pycryptodome_keccak

Vector = dict[str, Any]


def k(data: bytes) -> bytes:
    return pycryptodome_keccak.new(digest_bits=256, data=data).digest()


def tag(name: str) -> bytes:
    return k(b"Touchstone." + name.encode() + b".v1")


def word(value: Any) -> bytes:
    """One ABI word: bytes32, a number, a bool, or an address given as hex."""
    if isinstance(value, bytes):
        return value.rjust(32, b"\0")
    if isinstance(value, str):
        return bytes.fromhex(value[2:]).rjust(32, b"\0")
    return int(value).to_bytes(32, "big")


def words(*values: Any) -> bytes:
    return b"".join(map(word, values))


def array(items: list[bytes], *, before: int = 0) -> bytes:
    """A dynamic array of static items as the argument behind `before` static words: offset, length, items."""
    return words(32 * (before + 1), len(items)) + b"".join(items)


def salted(name: str, salt: bytes, text: str) -> bytes:
    return k(tag(name) + salt + k(text.encode("utf-8")))


def row_hashes(salt: bytes, prompt: str, response: str, w: int) -> tuple[bytes, bytes, bytes, bytes]:
    """(promptHash, headHash, tailHash, row_leaf): the response is cut at its w-th space, byte by byte."""
    spaces = [i for i, character in enumerate(response) if character == " "]
    cut = spaces[w - 1] if len(spaces) >= w else len(response)
    parts = (
        salted("P", salt, prompt),
        salted("H", salt, response[:cut]),
        salted("T", salt, response[cut + 1 :]),
    )
    return *parts, k(tag("ROW") + b"".join(parts))


def merkle(leaves: list[bytes], proved: int = 0) -> tuple[bytes, list[bytes]]:
    """(root, proof of leaves[proved]).

    OpenZeppelin fills an array backwards, so nodes pair up in the order in which they came: that is a queue.
    """
    queue = deque(sorted((k(leaf), i == proved) for i, leaf in enumerate(leaves)))
    proof = []
    while len(queue) > 1:
        (a, a_is_path), (b, b_is_path) = queue.popleft(), queue.popleft()
        if a_is_path or b_is_path:
            proof.append(b if a_is_path else a)
        queue.append((k(min(a, b) + max(a, b)), a_is_path or b_is_path))
    return queue[0][0], proof


def model_files(files: list[tuple[str, int, bytes]]) -> bytes:
    """keccak256(abi.encode(MODEL_TAG, (string,uint256,bytes32)[])), offsets counted by hand."""
    bodies = []
    for path, size, digest in sorted(files):
        text = path.encode()
        bodies.append(words(96, size, digest, len(text)) + text.ljust(-(-len(text) // 32) * 32, b"\0"))
    offsets, position = [], 32 * len(bodies)
    for body in bodies:
        offsets.append(position)
        position += len(body)
    return k(tag("MODEL") + words(64, len(bodies), *offsets) + b"".join(bodies))


def eip712(domain: Vector, type_string: str, *values: Any) -> bytes:
    separator = k(
        k(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
        + k(b"Touchstone")
        + k(b"1")
        + words(domain["chain_id"], domain["contract"])
    )
    return k(b"\x19\x01" + separator + k(k(type_string.encode()) + words(*values)))


ORDER = (
    "Order(address validator,uint256 maxReward,uint256 maxFee,bytes32 specHash,bytes32 sourceDataHash,"
    "uint256 minN,uint256 minKPay,uint256 nonce,uint256 expiry)"
)
OFFER = "Offer(address payer,bytes32 termsHash,uint256 validatorNonce,uint256 expiry)"
TRANSCRIPT = "Transcript(bytes32 taskId,bytes32 modelHash,bytes32 marksHash,bytes32 repliesHash)"
SESSION = "Session(address validator,address miner,uint256 nonce,uint256 expiry)"
WEIGHTS_VERDICT = (
    "WeightsVerdict(bytes32 taskId,bytes32 modelHash,uint256 hits,uint256 coverageLowBps,bytes32 bundleHash)"
)

ROLES = {
    "payer": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "validator": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "miner": "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
}
PLACES = [
    {"chain_id": chain_id, "contract": contract}
    for chain_id, contract in (
        (1, "0x5FbDB2315678afecb367f032d93F642f64180aa3"),
        (31337, "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"),
        (2**63, "0xDc64a140Aa3E981100a9becA4E685f962f0cF6C9"),
    )
]
ROWS = [
    (4, "What is 2 + 2?", "The sum of two and two is four."),
    (8, "", "only  three words"),
    (1, "日本語\n☂", " leading space, \ttab and\r\nnewlines stay  "),
]
LEAF_SETS = [["a"], ["a", "b", "c", "d", "e"], ["b", "a", "b", "c", "b", "d", "e"]]
FILES = [
    [("model.safetensors", 4, b"weights")],
    [("config.json", 2, b"{}"), ("adapter_model.safetensors", 2**40, b"large")],
    [("b" * 33, 0, b""), ("a/b", 1, b"x"), ("ümlaut", 3, b"y")],
]
MODEL_IDS = ["ft:touchstone:0x01", "", "モデル"]
SPECS = ['{"base_model":"touchstone-tiny"}', "{}", '{"epochs":20,"method":"full"}']
TERMS: list[Vector] = [
    ROLES
    | {
        "miner_epoch": 1 + i,
        "reward": 10**18 + i,
        "fee": 5 * 10**16,
        "miner_bond": 10**18,
        "availability_bond": 10**18 // 2,
        "validator_bond": 125 * 10**16,
        "answer_fee": 2 * 10**15,
        "scheme": scheme,
        "w": w,
        "n": n,
        "k_pay": 3 * n // 4,
        "k_slash": n // 16,
        "slashing": i == 0,
        "max_tokens": 32 * w,
        "dataset_root": k(b"dataset root" + bytes([i])),
        "commitment": k(b"commitment" + bytes([i])),
        "spec_hash": k(SPECS[i].encode()),
        "weights": i,
        "min_coverage_bps": 9_000 * i,
        "committee_hash": k(b"committee") if i == 2 else bytes(32),
        "quorum": i,
        "accept_seconds": 86_400,
        "train_seconds": 2**32 + i,
        "submitted_seconds": 259_200,
        "challenged_seconds": 172_800,
        "answered_seconds": 172_801,
        "judging_seconds": 172_802,
        "dispute_seconds": 604_800,
    }
    for i, (scheme, w, n) in enumerate([("canary", 4, 16), ("backdoor", 8, 64), ("coverage", 16, 32)])
]


def terms_hash(terms: Vector) -> bytes:
    values = [v.encode().ljust(32, b"\0") if name == "scheme" else v for name, v in terms.items()]
    return k(tag("TERMS") + words(*values))


def make_vectors() -> dict[str, list[Vector]]:
    """Three vectors for every canonical item, bytes as 0x hex."""
    vectors: dict[str, list[Vector]] = {}
    for i, place in enumerate(PLACES):
        salt = k(b"dataset salt" + bytes([i]))
        w, prompt, response = ROWS[i]
        names = ("prompt_hash", "head_hash", "tail_hash", "row_leaf")
        row: Vector = {"dataset_salt": salt, "w": w, "prompt": prompt, "response": response}
        row |= dict(zip(names, row_hashes(salt, prompt, response, w), strict=True))
        leaves = [k(name.encode()) for name in LEAF_SETS[i]]
        distinct = [k(bytes([j])) for j in range((2, 3, 12)[i])]
        marks = sorted(k(b"mark" + bytes([j])) for j in range((1, 2, 5)[i]))
        replies = [
            (k(b"prompt" + leaf), k(b"reply" + leaf) if j % 2 == 0 else bytes(32)) for j, leaf in enumerate(marks)
        ]
        terms, nonce, marks_hash = TERMS[i], 3**i, k(array(marks))
        replies_hash = k(array([a + b for a, b in replies]))
        task_id = k(
            tag("TASK") + words(place["chain_id"], place["contract"], terms["validator"], nonce, terms_hash(terms))
        )
        commitment: Vector = {
            **place,
            "validator": terms["validator"],
            "miner": terms["miner"],
            "miner_epoch": terms["miner_epoch"],
            "dataset_root": terms["dataset_root"],
            "marks_hash": marks_hash,
            "salt": k(b"salt" + bytes([i])),
        }
        files = [{"path": path, "size": size, "sha256": sha256(data).digest()} for path, size, data in FILES[i]]
        model_hash, served_hash = model_files([tuple(file.values()) for file in files]), k(MODEL_IDS[i].encode())
        order: Vector = {
            "validator": terms["validator"],
            "max_reward": 10**18 + i,
            "max_fee": 10**17,
            "spec_hash": terms["spec_hash"],
            "source_data_hash": sha256(bytes([i])).digest(),
            "min_n": terms["n"],
            "min_k_pay": terms["k_pay"],
            "nonce": (0, 255, 2**256 - 1)[i],
            "expiry": 1_800_000_000 + i,
        }
        offer: Vector = {
            "payer": terms["payer"],
            "terms_hash": terms_hash(terms),
            "validator_nonce": nonce,
            "expiry": 1_800_000_000 + i,
        }
        transcript: Vector = {
            "task_id": task_id,
            "model_hash": served_hash,
            "marks_hash": marks_hash,
            "replies_hash": replies_hash,
        }
        session: Vector = {
            "validator": terms["validator"],
            "miner": terms["miner"],
            "nonce": (0, 1_700_000_000_000_000, 2**64 - 1)[i],
            "expiry": 1_800_000_000 + i,
        }
        verdict: Vector = {
            "task_id": task_id,
            "model_hash": model_hash,
            "hits": terms["k_pay"],
            "coverage_low_bps": 9_000 + i,
            "bundle_hash": k(b"bundle" + bytes([i])),
        }
        digests = {
            name: place | values | {"digest": eip712(place, type_string, *values.values())}
            for name, type_string, values in (
                ("order", ORDER, order),
                ("offer", OFFER, offer),
                ("transcript", TRANSCRIPT, transcript),
                ("session", SESSION, session),
                ("weights_verdict", WEIGHTS_VERDICT, verdict),
            )
        }
        digests["offer"] = digests["offer"] | {"terms": terms}
        root, proof = merkle(distinct, proved=i)
        for item, vector in {
            "row": row,
            "dataset_root": {"leaves": leaves, "root": merkle(leaves)[0]},
            "proof": {"leaves": distinct, "leaf": distinct[i], "root": root, "proof": proof},
            "marks_hash": {"leaves": marks, "hash": marks_hash},
            "replies_hash": {"pairs": replies, "hash": replies_hash},
            "terms_hash": {"terms": terms, "hash": terms_hash(terms)},
            "task_id": {
                **place,
                "validator": terms["validator"],
                "validator_nonce": nonce,
                "terms_hash": terms_hash(terms),
                "task_id": task_id,
            },
            "commitment": commitment | {"hash": k(tag("COMMIT") + words(*commitment.values()))},
            "model_hash_of_files": {"files": files, "hash": model_hash},
            "model_hash_of_served_id": {"model_id": MODEL_IDS[i], "hash": served_hash},
            "spec_hash": {"spec": SPECS[i], "hash": k(SPECS[i].encode())},
            **digests,
        }.items():
            vectors.setdefault(item, []).append(vector)
    return vectors


def print_vectors() -> str:
    """The text of `vectors.json`."""
    return json.dumps(make_vectors(), indent=1, ensure_ascii=False, default=lambda data: "0x" + data.hex()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(print_vectors())
