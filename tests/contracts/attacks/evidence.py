"""Redoes the chain part of an audit from a script's events alone: who was paid or slashed, and on what evidence."""

from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from contracts import TaskState
from tests.contracts.attacks.stage import Stage
from validator.protocol import typed_data
from validator.protocol.commitment import RowHashes, Terms, hash_marks, hash_replies
from validator.types import Address


def check_evidence(stage: Stage) -> None:
    """Assert that every task's end stands on evidence.

    Escrowed reward reaches a miner in Paid alone, on n replies, of which k_pay hit, that its evidence key signed or
    that it answered. A slash stands on n replies of the same kind, of which at most k_slash hit. In every other outcome
    the payer has the whole reward back, and what the miner gets is the validator's.
    """
    logs: dict[bytes, dict[str, dict[str, Any]]] = {}
    for event in stage.events:
        if "task_id" in event.args:
            logs.setdefault(event.args["task_id"], {})[event.name] = event.args
    for log in logs.values():
        if "TaskClosed" in log:
            _check_end(stage, log)


def _check_end(stage: Stage, log: dict[str, dict[str, Any]]) -> None:
    terms, closed = Terms(*log["TaskOpened"]["terms"]), log["TaskClosed"]
    if closed["outcome"] == TaskState.PAID:
        assert _count_proved_hits(stage, terms, log) >= terms.k_pay
        assert (closed["to_payer"], closed["to_miner"]) == (0, terms.reward)
        return
    if closed["outcome"] in (TaskState.SLASHED, TaskState.DISPUTED):
        assert terms.slashing
        assert _count_proved_hits(stage, terms, log) <= terms.k_slash
    assert closed["to_payer"] >= terms.reward
    paid_from_the_bond = closed["outcome"] in (TaskState.VALIDATOR_LAPSED, TaskState.DISPUTED)
    assert closed["to_miner"] == (terms.reward if paid_from_the_bond else 0)
    assert not (paid_from_the_bond and closed["to_validator"])


def _count_proved_hits(stage: Stage, terms: Terms, log: dict[str, dict[str, Any]]) -> int:
    settled = log["TaskSettled"]
    rows = [RowHashes(*row) for row in settled["rows"]]
    assert len(rows) == len(settled["replies"]) == terms.n
    if "Answered" in log:
        assert settled["replies"] == log["Answered"]["replies"]
        assert list(log["Challenged"]["leaves"]) == [row.leaf for row in rows]
    else:
        pairs = [(row.prompt_hash, reply) for row, reply in zip(rows, settled["replies"], strict=True)]
        marks_hash, replies_hash = hash_marks([row.leaf for row in rows]), hash_replies(pairs)
        model_hash = log["ModelSubmitted"]["model_hash"]
        signed = typed_data.transcript(settled["task_id"], model_hash, marks_hash, replies_hash)
        domain = typed_data.domain(stage.chain.chain_id, Address(stage.address))
        message = encode_typed_data(domain, signed.types, signed.message)
        signer = Account.recover_message(message, signature=settled["signature"])
        assert signer.lower() == log["TaskAccepted"]["evidence_key"]
    hits = sum(reply == row.head_hash for row, reply in zip(rows, settled["replies"], strict=True))
    assert hits == settled["hits"]
    return hits
