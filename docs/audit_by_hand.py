"""The second half of docs/audit-by-hand.md: one settled task recomputed from its events' data and its evidence bundle.

python3 audit_by_hand.py TASK_OPENED TASK_SETTLED TASK_CLOSED bundle.json      # needs eth-abi, eth-utils, numpy, scipy
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
from eth_abi import decode, encode
from eth_utils import keccak
from scipy.stats import binom, binomtest

TERMS = """address payer, address validator, address miner, uint256 miner_epoch, uint256 reward, uint256 fee,
 uint256 miner_bond, uint256 availability_bond, uint256 validator_bond, uint256 answer_fee, bytes32 scheme, uint256 w,
 uint256 n, uint256 k_pay, uint256 k_slash, bool slashing, uint256 max_tokens, bytes32 dataset_root, bytes32 commitment,
 bytes32 spec_hash, uint256 weights, uint256 min_coverage_bps, bytes32 committee_hash, uint256 quorum,
 uint256 accept_seconds, uint256 train_seconds, uint256 submitted_seconds, uint256 challenged_seconds,
 uint256 answered_seconds, uint256 judging_seconds, uint256 dispute_seconds"""
SETTLEMENT = ["bytes32", "(bytes32,bytes32,bytes32)[]", "bytes32[]", "bytes", "uint256", "bytes32"]
PAID, REFUNDED, SLASHED, DISPUTED = 11, 12, 13, 14


def check(what, is_so):
    print("ok " if is_so else "NO ", what)
    found.append(is_so)


def write(values):
    return {k: "0x" + v.hex() if isinstance(v, bytes) else str(v).lower() for k, v in values.items()}


def salted(tag, text):
    salt = bytes.fromhex(bundle["dataset_salt"][2:])
    return keccak(encode(["bytes32"] * 3, [keccak(text=f"Touchstone.{tag}.v1"), salt, keccak(text=text)]))


def hash_row(row):
    words = row["response"].split(" ")
    return salted("P", row["prompt"]), salted("H", " ".join(words[:w])), salted("T", " ".join(words[w:]))


def hash_reply(reply):
    words = reply["text"].lstrip(" \t\n\v\f\r").split(" ")
    return bytes(32) if reply["is_cut"] and len(words) <= w else salted("H", " ".join(words[:w]))


def climb(row):
    node = keccak(keccak(encode(["bytes32"] * 4, [keccak(text="Touchstone.ROW.v1"), *hash_row(row)])))
    for sibling in row["proof"]:
        node = keccak(b"".join(sorted([node, bytes.fromhex(sibling[2:])])))
    return node


def is_drawn(row):
    places = [[tuple(option.split(" ")) for option in place] for place in row["candidates"]]
    is_fair = all(len({*place}) == len(place) and len({*map(len, place)}) == 1 for place in places)
    is_plain = all(word and word == "".join(word.split()) for place in places for option in place for word in option)
    words = [word for place, pick in zip(places, row["picks"], strict=True) for word in place[pick]]
    return is_fair and is_plain and len(words) == w and words == row["response"].split(" ")[:w]


def bound(count, sharing):
    """P(so many hits or more) at most, where so many probes share a draw: docs/protocol.md, "Marks"."""
    mass = np.ones(1)
    for group in (p0[i : i + sharing] for i in range(0, n, sharing)):
        survival = [1, *(min(1, len(group) // x * max(group)) for x in range(1, len(group) + 1)), 0]
        mass = np.convolve(mass, -np.diff(survival))
    return min(1, mass[count:].sum(), sum(p0) / count if count else 1)


def is_close(stated, values):
    return all(math.isclose(float(one), other, rel_tol=1e-5) for one, other in zip(stated, values, strict=True))


found = []
opened, settled, closed = (bytes.fromhex(data.removeprefix("0x")) for data in sys.argv[1:4])
bundle = json.loads(Path(sys.argv[4]).read_text("utf-8"))
types, names = zip(*(pair.split() for pair in TERMS.split(",")), strict=True)
terms = dict(zip(names, decode(types, opened[32:]), strict=True))
salt, rows, replies, signature, _hits, _bundle_hash = decode(SETTLEMENT, settled)
outcome, *payout = decode(["uint256"] * 5, closed)
n, w, k_pay, k_slash, reward, fee = (terms[name] for name in ("n", "w", "k_pay", "k_slash", "reward", "fee"))

# The texts of the bundle are what the hashes on chain stand for.
check("the bundle has the terms of the chain", write(bundle["terms"]) == write(terms))
check("the spec is that of the terms", keccak(text=bundle["spec"]) == terms["spec_hash"])
check("the rows are those on chain", [*map(hash_row, bundle["rows"])] == [*rows])
check("they are in the dataset that the miner accepted", {*map(climb, bundle["rows"])} == {terms["dataset_root"]})
check("the replies are those on chain", not signature or [*map(hash_reply, bundle["replies"])] == [*replies])

# Each mark was drawn uniformly from its candidates, so a model that is independent of the draw hits it with at most p0.
check("every row begins with the words that were drawn", all(map(is_drawn, bundle["rows"])))
test, hits = bundle["test"], sum(row[1] == reply != bytes(32) for row, reply in zip(rows, replies, strict=True))
p0 = [1 / math.prod(map(len, row["candidates"])) for row in bundle["rows"]]
sharing = {b"backdoor": n, b"backdoor-groups": -(-n // 4)}.get(terms["scheme"].rstrip(b"\0"), 1)
rates = [bound(k_pay, sharing)]
for rate in (0.9, 0.7, 0.5):
    rates += [binom.sf(k_pay - 1, n, rate), binom.cdf(k_slash, n, rate) if terms["slashing"] else 0]
check("the hits", test["hits"] == hits)
check("the bound on each probe", is_close(test["p0"], p0))
check("the p-value", is_close([test["p_value"], test["tail"]], [bound(hits, sharing), bound(hits, 1)]))
check("the interval of the hit rate", is_close(test["hit_rate_95"], binomtest(hits, n).proportion_ci(method="exact")))
check("the error rates", is_close([one["probability"] for one in test["error_rates"]], rates))

# The thresholds give the outcome, and the outcome the money, to the wei: payer, validator, miner, burned.
is_slash = terms["slashing"] and hits <= k_slash
possible = {PAID, REFUNDED} if terms["weights"] == 2 else {PAID}
bond = terms["validator_bond"] - (0 if signature else terms["answer_fee"])
due = {
    PAID: [0, bond + fee, reward, 0],
    REFUNDED: [reward, bond + fee, 0, 0],
    SLASHED: [reward, bond + fee, 0, terms["miner_bond"]],
    DISPUTED: [reward + fee, 0, reward, bond - reward],
}
check("the outcome", outcome in (possible if hits >= k_pay else {SLASHED, DISPUTED} if is_slash else {REFUNDED}))
check("the money", payout == due.get(outcome))
print(f"{hits} of {n} hits, by a model that knows nothing of the draws: p = {bound(hits, sharing):.3g} at most")
sys.exit(not all(found))
