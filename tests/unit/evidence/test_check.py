"""I7: who has only the bundle recomputes the verdict, and whatever was changed in it shows."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account

from tests.factories import CHAIN_ID, MINER, digest
from tests.unit.evidence.settled import SMALL_BACKDOOR, N, bundle_of, planted_with, settled_task
from validator.coverage.reference import CalibrationRun, Reference
from validator.coverage.result import judge_histograms
from validator.errors import BadInput
from validator.evidence.bundle import Bundle, Reply
from validator.evidence.check import check_bundle
from validator.marks.schemes import SCHEMES, Canary
from validator.protocol.commitment import ModelFile, encode_scheme, hash_model_files
from validator.protocol.state import Weights
from validator.protocol.verdict import Zone

BUNDLE = bundle_of(settled_task())


def checks(bundle: Bundle) -> list[str]:
    return [finding.check for finding in check_bundle(bundle)]


def changed(part: str = "", **changes: object) -> Bundle:
    """The bundle with something changed, at the top or in one part, and read again as a stranger's file."""
    bundle = BUNDLE
    if part:
        changes = {part: getattr(bundle, part).model_copy(update=changes)}
    return Bundle.parse(bundle.model_copy(update=changes).encode())


def with_row(**changes: object) -> Bundle:
    return changed(rows=(BUNDLE.rows[0].model_copy(update=changes), *BUNDLE.rows[1:]))


@pytest.mark.parametrize("hits", range(N + 1))
def test_an_honest_bundle_has_no_findings_whatever_its_verdict(hits):
    assert check_bundle(Bundle.parse(bundle_of(settled_task(hits)).encode())) == []


@pytest.mark.parametrize("scheme", [SMALL_BACKDOOR, *(make() for make in SCHEMES.values())], ids=lambda s: s.name)
@pytest.mark.parametrize("hits", [3, 16])
def test_an_honest_bundle_of_any_scheme_has_no_findings(scheme, hits):
    assert check_bundle(Bundle.parse(bundle_of(settled_task(hits, scheme), scheme).encode())) == []


def test_replies_on_chain_stand_for_the_signature():
    onchain = settled_task().reply_hashes(planted_with(Canary()).dataset_salt)
    state = settled_task(answers=(None,) * N, signature=None, onchain_replies=onchain)
    assert check_bundle(bundle_of(state)) == []
    signed = bundle_of(state).model_copy(
        update={"transcript": bundle_of(state).transcript.model_copy(update={"signature": b"\x01" * 65})}
    )
    assert checks(signed) == ["signature"]


FIRST, SECOND = BUNDLE.rows[:2]


@pytest.mark.parametrize(
    ("bundle", "expected"),
    [
        (changed(spec="{}"), ["task"]),
        (changed(chain_id=CHAIN_ID + 1), ["task", "commitment", "signature"]),
        (changed(contract=MINER), ["task", "commitment", "signature"]),
        (changed(validator_nonce=1), ["task"]),
        (changed(commitment_salt=digest("another")), ["commitment"]),
        (changed(terms=replace(BUNDLE.terms, k_pay=16)), ["task", "test"]),
        (changed(terms=replace(BUNDLE.terms, miner_epoch=2)), ["task", "commitment"]),
        (changed(rows=(SECOND, FIRST, *BUNDLE.rows[2:])), ["rows"]),
        (changed(rows=BUNDLE.rows[1:]), ["shape"]),
        (changed(replies=BUNDLE.replies[1:]), ["shape"]),
        (changed(replies=(None, *BUNDLE.replies[1:])), ["replies"]),
        (with_row(proof=FIRST.proof[1:]), ["proofs"]),
        (with_row(picks=(*FIRST.picks[:-1], 1 - FIRST.picks[-1])), ["draws"]),
        (with_row(picks=(9, 0, 0, 0)), ["draws"]),
        (with_row(candidates=FIRST.candidates[:3], picks=FIRST.picks[:3]), ["draws", "test"]),
        (
            with_row(candidates=(*FIRST.candidates[:3], (f"{FIRST.candidates[3][0]} more", *FIRST.candidates[3][1:]))),
            ["draws"],
        ),
        (with_row(candidates=(*FIRST.candidates[:3], (FIRST.candidates[3][FIRST.picks[3]],) * 2)), ["draws"]),
        (changed(terms=replace(BUNDLE.terms, scheme=encode_scheme("unheard of"))), ["task", "draws"]),
        (changed(probe_order=(0, *range(N - 1))), ["order"]),
        (changed(model_id="ft:another"), ["model"]),
        (changed(replies=(Reply(text="no", is_cut=False), *BUNDLE.replies[1:])), ["replies", "test"]),
        (changed("transcript", marks_hash=digest("marks")), ["commitment", "signature"]),
        (changed("transcript", replies_hash=digest("replies")), ["replies", "signature"]),
        (changed("transcript", signature=b""), ["signature"]),
        (changed("transcript", evidence_key=Account.from_key(digest("x")).address), ["signature"]),
        (changed("test", hits=16), ["test"]),
        (changed("test", zone=Zone.SLASHED), ["test"]),
        (changed("test", p_value="1.000000e-99"), ["test"]),
        (changed("test", tail="1.000000e-99"), ["test"]),
        (changed("test", p0=("1.000000e-09",) * N), ["test"]),
        (changed("test", hit_rate_95=("0.000000e+00", "1.000000e+00")), ["test"]),
        (changed("test", error_rates=()), ["test"]),
        (changed("test", probes_per_draw=2), ["draws", "test"]),
    ],
)
def test_whatever_was_changed_shows(bundle: Bundle, expected: list[str]):
    """V1, V3, V4, V7."""
    assert checks(bundle) == expected


BEYOND = {
    "replies.text": "what follows the first words of a reply is in no hash",
    "replies.is_cut": "where the words are there, it makes no difference",
    "rows.candidates": "words that were not drawn are the generator's to name again",
    "versions.touchstone": "what somebody ran",
    "versions.scipy": "what somebody ran",
    "versions.generator": "what somebody ran",
    "versions.contract_code_hash": "the chain's to say",
}
"""What can be changed without a contradiction in the bundle itself; the chain has the hash of all of it."""


def leaves(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a JSON document that is no list and no object; of long lists the first and last."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, *path, key)
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1}) if value else ():
            yield from leaves(value[index], *path, index)
    else:
        yield path


def altered(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + 1
    return value[:-1] + ("1" if value[-1:] != "1" else "2")  # the last digit of a hash, an amount, a figure


@pytest.mark.parametrize("path", list(leaves(json.loads(BUNDLE.encode()))), ids=lambda path: ".".join(map(str, path)))
def test_no_value_can_be_changed_without_a_contradiction(path: tuple[str | int, ...]):
    """I7, V1: every single one, but for what is named in BEYOND."""
    content = json.loads(BUNDLE.encode())
    target = content
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = altered(target[path[-1]])
    try:
        findings = check_bundle(
            Bundle.parse(json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode())
        )
    except BadInput:
        return
    name = ".".join(step for step in path if isinstance(step, str))
    assert findings or name in BEYOND


def test_a_salt_that_does_not_fit_leaves_nothing_standing():
    assert checks(changed(dataset_salt=digest("another"))) in (
        ["rows"],
        ["commitment", "proofs", "replies", "test"],
    )


def test_figures_may_differ_in_the_last_digit_only():
    digits = BUNDLE.test.p_value.partition("e")
    near = f"{float(digits[0]) + 1e-6:.6f}e{digits[2]}"
    assert check_bundle(changed("test", p_value=near)) == []


def test_returned_weights_are_the_submitted_files():
    files = (ModelFile("adapter.safetensors", 7, digest("file")),)
    answers = settled_task().answers
    bundle = bundle_of(settled_task(weights=Weights.DELIVERED, weights_files=files, weights_answers=answers))
    assert "model" in checks(bundle), "this hash is of a served model"
    transcript = bundle.transcript.model_copy(update={"model_hash": hash_model_files(files)})
    assert "model" not in checks(bundle.model_copy(update={"transcript": transcript}))


def make_reference(spec: str) -> Reference:
    """Of two runs on all rows and two on half of them."""
    runs = [
        CalibrationRun(share, 3, seed, (160 + seed, 10, 8, 6, 6, 4, 4, 2), (25,) * 8 if share < 1 else (0,) * 8, 0)
        for share in (1.0, 0.5)
        for seed in (0, 1)
    ]
    return Reference("a base model", spec, "some rows", 3, tuple(runs))


def covered_bundle(**changes: Any) -> Bundle:
    """Of a miner that was trained on all rows; `changes` to what is stated of its coverage."""
    reference = make_reference(settled_task().planned.spec)
    result = judge_histograms({8: (155, 11, 8, 7, 6, 5, 5, 3)}, seed=1, dropped=2, reference=reference)
    answers = settled_task().answers
    state = settled_task(weights=Weights.JUDGED, weights_answers=answers, coverage=result.to_json().decode())
    bundle = bundle_of(state, reference=reference)
    assert bundle.weights is not None
    assert bundle.weights.coverage is not None
    coverage = bundle.weights.coverage.model_copy(update=changes)
    return bundle.model_copy(update={"weights": bundle.weights.model_copy(update={"coverage": coverage})})


def test_coverage_is_computed_again_from_ranks_and_reference():
    """And the bundle that has it is the same after a reader has read it."""
    bundle = covered_bundle()
    assert "coverage" not in checks(bundle)
    assert Bundle.parse(bundle.encode()) == bundle
    assert bundle.weights.coverage.low_bps > 8_000


@pytest.mark.parametrize(
    "changes",
    [
        {"histogram": (125, 41, 8, 7, 6, 5, 5, 3)},
        {"low_bps": 10_000},
        {"rank_sum_log10_p": "-400.0000"},
        {"top_rank_log10_p": "-400.0000"},
        {"trained_share": ("1.2000", "1.1000", "1.3000")},
        {"trained_share": None},
        {"reference": None},
        {"reference": "{}"},
        {"reference": make_reference('{"epochs":99}').to_json().decode()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_coverage_that_does_not_follow_is_found(changes: dict[str, Any]):
    assert "coverage" in checks(covered_bundle(**changes))
