"""Evidence bundles: one content, one text, one hash; and strangers' files are read strictly."""

import json
from dataclasses import fields

import pytest
from eth_utils.crypto import keccak

from tests.factories import digest
from tests.unit.evidence.settled import SEED, SMALL_BACKDOOR, N, bundle_of, planted_with, settled_task
from validator.errors import BadInput
from validator.evidence.bundle import MAX_BUNDLE_BYTES, NOT_HERE, SCHEMA, Bundle
from validator.marks.schemes import Canary
from validator.protocol.commitment import ModelFile, Terms
from validator.protocol.state import Answer, Weights

BUNDLE = bundle_of(settled_task())
DATA = BUNDLE.encode()
CONTENT = json.loads(DATA)


def canonical(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def with_(place: str, value: object) -> bytes:
    """The canonical text with one value replaced; `place` is a path of keys and indices."""
    content = json.loads(DATA)
    *path, last = (int(step) if step.isdigit() else step for step in place.split("."))
    target = content
    for step in path:
        target = target[step]
    target[last] = value
    return canonical(content)


def test_the_same_evidence_has_the_same_bytes_and_they_name_it():
    assert bundle_of(settled_task()).encode() == DATA == canonical(CONTENT)
    assert BUNDLE.bundle_hash == keccak(DATA)
    assert bundle_of(settled_task(hits=14)).bundle_hash != BUNDLE.bundle_hash


def test_a_bundle_holds_what_the_protocol_lists():
    """Protocol, "Evidence bundle": every part of it, by name."""
    planted = planted_with(Canary())
    assert CONTENT["schema"] == SCHEMA
    assert set(CONTENT["terms"]) == {field.name for field in fields(Terms)}
    assert CONTENT["dataset_salt"] == "0x" + planted.dataset_salt.hex()
    assert [row["prompt"] for row in CONTENT["rows"]] == [mark.row.prompt for mark in planted.marks]
    assert all(len(row["candidates"]) == len(row["picks"]) == 4 for row in CONTENT["rows"])
    assert CONTENT["probe_order"] == list(range(N))
    assert CONTENT["replies"][0]["is_cut"]
    assert CONTENT["replies"][0]["text"].endswith("— ☂ \x01"), "in full, to the byte"
    assert len(CONTENT["transcript"]["signature"]) == 2 + 2 * 65
    assert {rate["event"] for rate in CONTENT["test"]["error_rates"]} == {"paid", "slashed"}
    assert CONTENT["test"]["p0"] == ["6.250000e-02"] * N
    assert set(CONTENT["versions"]) == {"touchstone", "scipy", "generator", "contract_code_hash"}


def test_only_the_probed_rows_are_in_it_and_no_secret_of_other_tasks():
    """Protocol, invariant 6: neither another row of the customer's nor the master seed."""
    planted = planted_with(Canary())
    marked = {mark.row_index for mark in planted.marks}
    text = DATA.decode()
    assert not any(row.prompt in text for index, row in enumerate(planted.rows) if index not in marked)
    assert SEED.hex() not in text


def test_what_is_written_is_read_back():
    for state, scheme in (
        (settled_task(), Canary()),
        (settled_task(0), Canary()),
        (settled_task(16, SMALL_BACKDOOR), SMALL_BACKDOOR),
        (settled_task(answers=(None,) * N, signature=None, onchain_replies=(digest("a reply"),) * N), Canary()),
        (
            settled_task(
                weights=Weights.DELIVERED,
                weights_files=(ModelFile("adapter.safetensors", 7, digest("file")),),
                weights_answers=(Answer("no", is_cut=False),) * N,
            ),
            Canary(),
        ),
        (settled_task(weights=Weights.DELIVERED, weights_fault="x" * 5_000), Canary()),
        (settled_task(weights=Weights.DELIVERED), Canary()),
    ):
        bundle = bundle_of(state, scheme)
        assert Bundle.parse(bundle.encode()) == bundle


def test_weights_that_were_due_and_are_not_here_are_said_to_be_missing():
    assert bundle_of(settled_task()).weights is None
    missing = bundle_of(settled_task(weights=Weights.JUDGED)).weights
    assert (missing.files, missing.replies, missing.fault) == ((), (), NOT_HERE)


def test_no_number_is_a_float_or_needs_more_than_53_bits():
    def numbers(value: object):
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from numbers(each)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield value

    found = list(numbers(CONTENT))
    assert len(found) > 5 * N
    assert all(isinstance(number, int) and number < 2**53 for number in found)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "Input should be an object"),
        (b"\xff", "not valid UTF-8"),
        (b"[" * 10_000, "nested too deeply"),
        (DATA + b"\n", "canonical form"),
        (DATA.replace(b'":', b'": ', 1), "canonical form"),
        (DATA.replace(b"{", b'{"schema":"touchstone-bundle/2",', 1), "a key stands twice"),
        (b" " * (MAX_BUNDLE_BYTES + 1), "longer than 80 MiB"),
        (with_("schema", "touchstone-bundle/1"), "schema"),
        (with_("extra", 1), "extra"),
        (with_("chain_id", 2**53), "chain_id"),
        (with_("chain_id", "1"), "chain_id"),
        (with_("chain_id", True), "chain_id"),
        (with_("contract", "0x" + CONTENT["contract"][2:].swapcase()), "EIP-55"),
        (with_("terms.reward", 10**18), "reward is not as the protocol has it"),
        (with_("terms.reward", "01"), "reward is not as the protocol has it"),
        (with_("terms.reward", str(2**96)), "reward is not as the protocol has it"),
        (with_("terms.slashing", 1), "slashing is not as the protocol has it"),
        (with_("terms.n", -1), "n is not as the protocol has it"),
        (with_("terms.more", 1), "exactly the terms"),
        (with_("dataset_salt", "0x" + "ab" * 31), "dataset_salt"),
        (with_("dataset_salt", "ab" * 32), "dataset_salt"),
        (with_("dataset_salt", "0x" + "AB" * 32), "dataset_salt"),
        (with_("dataset_salt", "0x" + "zz" * 32), "dataset_salt"),
        (with_("rows", []), "rows"),
        (with_("rows", CONTENT["rows"] * 5), "rows"),
        (with_("rows.0.proof", ["0x" + "00" * 32] * 25), "proof"),
        (with_("rows.0.prompt", "x" * ((1 << 20) + 1)), "prompt"),
        (with_("rows.0.candidates.0", []), "candidates"),
        (with_("rows.0.picks.0", -1), "picks"),
        (with_("replies.0.is_cut", 1), "is_cut"),
        (with_("replies.0.text", None), "text"),
        (with_("transcript.signature", "0x" + "00" * 66), "signature"),
        (with_("test.p_value", 0.5), "p_value"),
        (with_("test.p_value", "0.5"), "p_value"),
        (with_("test.zone", "doubt"), "zone"),
        (with_("test.null_hypothesis", "it is as it is"), "null_hypothesis"),
        (DATA.replace(b'"zone":"paid"', b'"zone":"\\ud800"'), "surrogate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_strangers_file_is_refused_with_the_place_at_fault(data, reason):
    with pytest.raises(BadInput, match=reason):
        Bundle.parse(data)
